"""The page for people: one file, and a policy that lets a browser run nothing but what is in it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """HTML and its `Content-Security-Policy`."""

    body: bytes
    policy: str


def load_page() -> Page:
    """The page as it ships."""
    return page_of(files("clipwatch.service").joinpath("static/index.html").read_text("utf-8"))


def page_of(html: str) -> Page:
    """*html* with a policy that names its inline scripts and styles by their hashes (CSP level 3, 6.7)."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    directives = [
        "default-src 'none'",
        *(f"{kind}-src {' '.join(found)}" for kind, found in hashes.items() if found),
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    return Page(html.encode(), "; ".join(directives))


ASK_FOR_TOKEN: Final = page_of(
    """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>clipwatch</title><style>:root{color-scheme:light dark}body{font:16px system-ui;margin:15vh auto;max-width:20rem}
input,button{font:inherit;padding:.4rem;width:100%;box-sizing:border-box;margin-top:.5rem}</style>
<form method="get" action="/"><label>This page needs the token of <code>http.token</code>.
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></form>
"""
)
"""What `/` is without the token."""
