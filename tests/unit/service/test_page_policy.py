"""The page's one file against what it promises: nothing from elsewhere, nothing that a browser must trust blindly."""

from __future__ import annotations

import re

from clipwatch.service.page import ASK_FOR_TOKEN, load_page, page_of


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    html = load_page().body.decode()
    addresses = [a for a in re.findall(r"https?://[^\s'\"]+", html) if a != "http://www.w3.org/2000/svg"]
    assert addresses == []
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", html) == []


def test_the_page_never_makes_markup_of_text() -> None:
    html = load_page().body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=|\sstyle=", html)


def test_the_policy_names_each_inline_block_by_its_hash() -> None:
    # sha256 of "a" and of "b", base64
    page = page_of("<style>a</style><script>b</script>")
    assert "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in page.policy
    assert "script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0='" in page.policy
    for shown in (load_page(), ASK_FOR_TOKEN):
        assert "unsafe" not in shown.policy
        assert shown.policy.startswith("default-src 'none'; ")


def test_asking_for_the_token_runs_no_script() -> None:
    assert "script-src" not in ASK_FOR_TOKEN.policy
