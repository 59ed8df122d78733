"""Straight or through a proxy: the decision for every address and every environment."""

from __future__ import annotations

import contextlib

import httpcore
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipwatch.errors import ConfigError
from clipwatch.network import grpc_proxy_options, http_transport, is_this_machine, proxy_for

LIMITS = httpx.Limits()
EVERY = {"http_proxy": "http://p:1", "https_proxy": "http://p:2", "grpc_proxy": "http://p:3", "all_proxy": "http://p:4"}
HERE = (
    "localhost", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1", "127.1.2.3", "127.1", "2130706433", "0x7f.1",
    "0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "ip6-localhost",
)  # fmt: skip


@pytest.mark.parametrize("host", HERE)
@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
def test_loopback_is_always_dialled_straight(scheme: str, host: str) -> None:
    assert is_this_machine(host)
    assert proxy_for(f"{scheme}://{host}:6333", EVERY | {"no_proxy": ""}) is None


@pytest.mark.parametrize("host", ["example.org", "localhost.example.org", "notlocalhost", "10.0.0.1", "[2001:db8::1]"])
def test_any_other_host_goes_through_the_proxy_of_its_scheme(host: str) -> None:
    for scheme, variable in (("http", "http"), ("https", "https"), ("grpc", "grpc"), ("grpcs", "grpc")):
        proxy = proxy_for(f"{scheme}://{host}:6333", EVERY)
        assert proxy is not None
        assert (proxy.url, proxy.variable) == (EVERY[f"{variable}_proxy"], f"{variable}_proxy")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HTTP_PROXY": "p"}, ("http://p", "HTTP_PROXY")),
        ({"http_proxy": "", "HTTP_PROXY": "p"}, None),
        ({"HTTP_PROXY": "p", "REQUEST_METHOD": "GET"}, None),
        ({"HTTP_PROXY": "p", "REQUEST_METHOD": "GET", "ALL_PROXY": "q"}, ("http://q", "ALL_PROXY")),
        ({"all_proxy": "socks5://p"}, ("socks5://p", "all_proxy")),
        ({"https_proxy": "p"}, None),
        ({}, None),
    ],
)
def test_the_variables_count_as_people_know_them(environment: dict[str, str], expected: tuple[str, str] | None) -> None:
    proxy = proxy_for("http://example.org:6333", environment)
    assert (proxy and (proxy.url, proxy.variable)) == expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "straight"),
    [
        ("store.example.org", "example.org", True),
        ("store.example.org", ".example.org", True),
        ("store.example.org", "*.example.org", True),
        ("store.example.org", "a, EXAMPLE.org ,b", True),
        ("store.example.org", "a example.org", True),
        ("store.example.org", "http://store.example.org", True),
        ("store.example.org", "store.example.org:6333", True),
        ("store.example.org", "store.example.org:443", False),
        ("storeexample.org", "example.org", False),
        ("store.example.org", "*", True),
        ("store.example.org", "", False),
        ("store.example.org", "[::1], fe80::/10", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "3", False),
        ("10.1.2.3", ".3", False),
        ("[fe80::1%25eth0]", "fe80::/10", True),
        ("[2001:db8::5]", "[2001:db8:0::5]", True),
        ("[2001:db8::5]", "[2001:db8::5]:6333", True),
        ("[2001:db8::5]", "2001:db8::/32", True),
        ("[2001:db8::5]", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(host: str, no_proxy: str, straight: bool) -> None:
    environment = {"http_proxy": "http://p:1", "no_proxy": no_proxy}
    assert (proxy_for(f"http://{host}:6333", environment) is None) == straight


class Unplugged(httpcore.NetworkBackend):
    """Nobody can be dialled."""

    def connect_tcp(self, *_: object, **__: object) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("unplugged")


VALUES = st.one_of(
    st.sampled_from(
        [
            "socks5://127.0.0.1:1", "socks5h://p", "socks4://p:1", "nonsense", "http://", "http://[", "http://[::1", "://",
            "http://p:99999", "http://p:abc", "http://user:pass@p:1", "http://us er@p", "https://p", "ftp://p", "p:1",
            "[::1]", "fe80::/10", "localhost,127.0.0.1,[::1]", "*", "::/0", "10.0.0.0/99", "http://ü.example", "\udcff",
        ]
    ),
    st.text(st.characters(blacklist_characters="\0"), max_size=12),
)  # fmt: skip
NAMES = st.sampled_from(
    [name for lower in ("http", "https", "grpc", "all", "no") for name in (f"{lower}_proxy", f"{lower}_proxy".upper())]
)


@settings(deadline=None)
@given(
    st.sampled_from(["http", "https", "grpc", "grpcs"]),
    st.sampled_from(["example.org", "10.0.0.1", "[2001:db8::1]", "[fe80::1%25eth0]", "localhost"]),
    st.dictionaries(NAMES, VALUES),
)
@example("http", "example.org", {"all_proxy": "socks5://127.0.0.1:1"})
@example("http", "example.org", {"http_proxy": "p", "no_proxy": "[::1],fe80::/10"})
def test_no_environment_is_more_than_one_sentence(scheme: str, host: str, environment: dict[str, str]) -> None:
    url = f"{scheme}://{host}:6333"
    proxy = proxy_for(url, environment)
    if host == "localhost":
        assert proxy is None
    with contextlib.suppress(ConfigError):
        if scheme.startswith("grpc"):
            grpc_proxy_options(url, proxy)
        else:
            transport = http_transport(url, proxy, limits=LIMITS)
            transport._pool._network_backend = Unplugged()
            with httpx.Client(transport=transport) as client, contextlib.suppress(httpx.HTTPError):
                client.get(url)


def test_a_proxy_is_named_without_its_user_and_password() -> None:
    environment = {"http_proxy": "http://me:secret@p.example:3128/?x", "all_proxy": "gopher://me:secret@p"}
    proxy = proxy_for("http://example.org:6333", environment)
    assert str(proxy) == "http://p.example:3128 (from http_proxy)"
    odd = proxy_for("https://example.org:443", environment)
    with pytest.raises(ConfigError) as refused:
        http_transport("https://example.org:443", odd, limits=LIMITS)
    assert "gopher://p (from all_proxy)" in refused.value.sentence()
    assert "secret" not in refused.value.sentence()
