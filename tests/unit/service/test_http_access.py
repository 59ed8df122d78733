"""Who is let in: decisions over header values."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipwatch.config import HttpConfig
from clipwatch.config_file import load
from clipwatch.errors import ConfigError
from clipwatch.service.http_access import Access, host_of, same_origin

WORDS, NONE = "correct horse", "none"
OPEN = Access.of(HttpConfig(listen="127.0.0.1:8766"))
LOCKED = Access.of(HttpConfig(listen="0.0.0.0:8766", token=WORDS))


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:8766", "localhost"),
        ("127.0.0.1:8766", "127.0.0.1"),
        ("[::1]:8766", "::1"),
        ("[::1]", "::1"),
        ("", None),
        (":8766", None),
        ("localhost:", None),
        ("localhost:80:80", None),
        ("localhost:port", None),
        ("[localhost]:1", None),
        ("[::1", None),
    ],
)
def test_a_host_is_told_from_its_port(header: str, host: str | None) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize("header", ["localhost:8766", "127.0.0.1", "[::1]:8766", "192.168.1.7:8766", "LOCALHOST"])
def test_this_machine_is_known_by_its_names_and_by_any_address(header: str) -> None:
    assert OPEN.knows_host(header)


@pytest.mark.parametrize("header", ["", "attacker.example", "localhost.attacker.example:8766", "127.0.0.1.nip.io"])
def test_a_name_that_merely_leads_here_is_unknown_unless_a_token_guards(header: str) -> None:
    assert not OPEN.knows_host(header)
    assert LOCKED.knows_host(header) == bool(header)


def test_the_host_that_is_listened_on_is_a_known_name() -> None:
    assert Access.of(HttpConfig(listen="photos.lan:80", token=NONE)).knows_host("photos.lan")


def test_without_a_token_and_with_the_word_none_everyone_is_admitted() -> None:
    assert OPEN.admits(authorization="", cookie="")
    assert Access.of(HttpConfig(listen="0.0.0.0:1", token=NONE)).admits(authorization="", cookie="")


@pytest.mark.parametrize("listen", ["0.0.0.0:8766", "192.168.1.7:8766", "[::]:8766", "photos.lan:8766"])
def test_an_address_that_others_can_reach_needs_a_token_or_the_word(listen: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[http]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigError, match=r"http\.token must be set") as refused:
        load(file, {})
    assert 'token = "none"' in refused.value.hint
    for token in ("correct horse", "none"):
        file.write_text(f'[http]\nlisten = "{listen}"\ntoken = "{token}"\n')
        assert load(file, {}).config.http.token == token


@pytest.mark.parametrize("listen", ["127.0.0.1:8766", "127.8.8.8:1", "[::1]:8766", "localhost:8766", ""])
def test_an_address_of_this_machine_alone_needs_none(listen: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[http]\nlisten = "{listen}"\n')
    assert load(file, {}).config.http.listen == listen


@pytest.mark.parametrize(
    ("authorization", "cookie", "query", "admitted"),
    [
        ("Bearer correct horse", "", "", True),
        ("bearer correct horse", "", "", True),
        ("", "", "correct horse", True),
        ("", LOCKED.cookie, "", True),
        ("", "", "", False),
        ("Basic correct horse", "", "", False),
        ("Bearer correct hors", "", "", False),
        ("", "correct horse", "", False),
        ("", "", "wröng", False),
        ("Bearer \udcff", "", "", False),
    ],
)
def test_a_token_is_wanted_whole(authorization: str, cookie: str, query: str, admitted: bool) -> None:
    assert LOCKED.admits(authorization=authorization, cookie=cookie, query=query) is admitted


def test_the_cookie_ends_with_the_token() -> None:
    other = Access.of(HttpConfig(listen="0.0.0.0:8766", token=WORDS + "!"))
    assert not other.admits(authorization="", cookie=LOCKED.cookie)


@pytest.mark.parametrize(
    ("origin", "site", "ours"),
    [
        (None, None, True),
        ("http://localhost:8766", None, True),
        ("https://localhost:8766", "same-origin", True),
        (None, "none", True),
        ("null", None, False),
        ("http://localhost", None, False),
        ("http://localhost:9999", None, False),
        ("http://attacker.example", None, False),
        (None, "cross-site", False),
        (None, "same-site", False),
    ],
)
def test_only_our_own_page_or_none_at_all_may_ask(origin: str | None, site: str | None, ours: bool) -> None:
    assert same_origin(origin=origin, host="localhost:8766", site=site) is ours
