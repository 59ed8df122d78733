"""The HTTP client of huggingface_hub: it goes straight or through a proxy as every client of ours does."""

from __future__ import annotations

import functools
import os
import threading
from typing import Final
from urllib.parse import urlsplit

import httpx
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook

from clipwatch.network import Proxy, http_transport, proxy_for

_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
_SECONDS: Final = 60.0
"""For each step of a request whose caller sets no limit."""


@functools.cache  # setting it again would close the client under a fetch that is under way
def use_our_client() -> None:
    """Have huggingface_hub, and what is built on it, use a client that `clipwatch.network` decides for.

    Its requests raise `ConfigError` where the environment's proxy or certificates cannot be used.
    """
    set_client_factory(_client)


def _client() -> httpx.Client:
    # But for the transport, as huggingface_hub makes its own.
    hooks = {"request": [hf_request_event_hook]}
    return httpx.Client(transport=_ByEnvironment(), event_hooks=hooks, follow_redirects=True, timeout=_SECONDS)


class _ByEnvironment(httpx.BaseTransport):
    """Decides for each request: files lie on another host than the one that names them."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Proxy | None], httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        proxy = proxy_for(url, os.environ)
        way = (urlsplit(url).scheme, proxy)
        with self._lock:
            if way not in self._made:
                self._made[way] = http_transport(url, proxy, limits=_LIMITS)
        try:
            return self._made[way].handle_request(request)
        except httpx.TransportError as error:
            if proxy is None:
                raise
            raise type(error)(f"{error} (through the proxy {proxy})", request=request) from error

    def close(self) -> None:
        with self._lock:
            for transport in self._made.values():
                transport.close()
