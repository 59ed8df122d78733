"""The environment's proxy: never on the way to this machine, and on the way to every other host named when it fails."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipwatch.config import StoreConfig
from clipwatch.errors import ConfigError, StoreUnavailable
from clipwatch.store.connect import socket_client
from clipwatch.store.open import open_store
from clipwatch.store.qdrant import QdrantStore
from support.grpc_stand_in import GrpcStandIn
from support.optional import lacking
from support.proxy_stand_in import ProxyStandIn
from support.stores import API_KEY, WIDTH, Told, drop_collection, sample_point, shared_engine, store_config
from support.tls import certificate_for, tls_in_front_of

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
ELSEWHERE = "store.invalid"
"""No such host: who does not go through the proxy does not get anywhere."""


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Where 127.0.0.1 answers, by scheme."""
    engine = shared_engine()
    with contextlib.closing(socket_client(engine.socket_path, timeout_seconds=10)) as raw, GrpcStandIn(raw) as stand_in:
        yield {"http": int(engine.listen_address.rpartition(":")[2]), "grpc": stand_in.port}


@pytest.fixture
def config() -> Iterator[StoreConfig]:
    config = store_config()
    yield config
    drop_collection(shared_engine().socket_path, config.collection)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def opened(config: StoreConfig, url: str) -> contextlib.closing[QdrantStore]:
    changed = replace(config, url=url)
    return contextlib.closing(open_store(changed, api_key=API_KEY, runtime=Path("unused"), logger=Told()))


def assert_works(store: QdrantStore) -> None:
    store.ensure(WIDTH)
    store.upsert([sample_point("a.jpg")])
    assert store.count() == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_store_on_this_machine_is_reached_whatever_proxy_is_set(
    scheme: str, host: str, ports: dict[str, int], config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyStandIn() as proxy:
        for name in VARIABLES:
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        with opened(config, f"{scheme}://{host}:{ports[scheme]}") as store:
            assert_works(store)
        assert proxy.asked == []


@pytest.mark.parametrize(
    "environment",
    [
        {"all_proxy": "socks5://127.0.0.1:1", "no_proxy": "localhost,127.0.0.1"},
        {"all_proxy": "socks5://127.0.0.1:1"},
        {"http_proxy": "nonsense", "https_proxy": "http://[", "grpc_proxy": "http://p:abc"},
        {"no_proxy": "[::1]", "http_proxy": "http://127.0.0.1:1"},
        {"no_proxy": "fe80::/10", "http_proxy": "http://127.0.0.1:1"},
        {"SSL_CERT_FILE": "/nowhere.pem"},
        {"SSL_CERT_DIR": "/nowhere", "REQUESTS_CA_BUNDLE": "/nowhere.pem", "CURL_CA_BUNDLE": "/nowhere.pem"},
        {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "/nowhere.pem"},
    ],
    ids=str,
)
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_store_on_this_machine_is_reached_whatever_else_is_set(
    scheme: str,
    environment: dict[str, str],
    ports: dict[str, int],
    config: StoreConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with opened(config, f"{scheme}://127.0.0.1:{ports[scheme]}") as store:
        assert_works(store)


@pytest.mark.parametrize(("scheme", "method"), [("http", "PUT http://"), ("grpc", "CONNECT ")])
def test_a_store_elsewhere_is_reached_through_the_proxy(
    scheme: str, method: str, ports: dict[str, int], config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyStandIn(ports[scheme]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with opened(config, f"{scheme}://{ELSEWHERE}:7777") as store:
            assert_works(store)
        assert any(line.startswith(f"{method}{ELSEWHERE}:7777") for line in proxy.asked), proxy.asked


def test_a_store_elsewhere_behind_tls_is_reached_through_the_proxy(
    ports: dict[str, int], config: StoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        lacking("openssl is not installed")
    mine = certificate_for(f"DNS:{ELSEWHERE}", tmp_path)
    with tls_in_front_of(ports["http"], mine) as port, ProxyStandIn(port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with opened(replace(config, tls_ca_file=str(mine.certificate)), f"https://{ELSEWHERE}") as store:
            assert_works(store)
        assert set(proxy.asked) == {f"CONNECT {ELSEWHERE}:443"}


@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
def test_the_proxy_is_named_where_the_store_behind_it_cannot_be_reached(
    scheme: str, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyStandIn() as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        lost = opened(replace(config, timeout_seconds=2.0), f"{scheme}://{ELSEWHERE}")
        with lost as store, pytest.raises(StoreUnavailable) as failed:
            store.ensure(WIDTH)
    sentence = failed.value.sentence()
    variable = "http_proxy" if scheme == "http" else "https_proxy"
    assert f"through the proxy http://127.0.0.1:{proxy.port} (from {variable})" in sentence
    assert "secret" not in sentence
    assert proxy.asked


@pytest.mark.parametrize(
    ("scheme", "environment", "words"),
    [
        ("http", {"all_proxy": "socks5://127.0.0.1:1"}, r"socks5://127.0.0.1:1 \(from all_proxy\).*socksio"),
        ("http", {"http_proxy": "http://["}, "from http_proxy"),
        ("http", {"http_proxy": "http://p:abc"}, "from http_proxy"),
        ("grpc", {"grpc_proxy": "socks5://127.0.0.1:1"}, "from grpc_proxy.*http:// proxies only"),
        ("https", {"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE.*No such file"),
    ],
)
def test_a_proxy_or_certificates_that_cannot_be_used_are_one_sentence_that_names_the_variable(
    scheme: str, environment: dict[str, str], words: str, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words), opened(config, f"{scheme}://{ELSEWHERE}"):
        pass
