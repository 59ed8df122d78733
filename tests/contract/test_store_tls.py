"""A server behind TLS: believed by its authority, and by nothing less."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipwatch.errors import StoreUnavailable
from clipwatch.store.connect import socket_client
from support.grpc_stand_in import GrpcStandIn
from support.stores import API_KEY, WIDTH, drop_collection, sample_point, shared_engine, store_at, store_config
from support.tls import Certificate, certificate_for, tls_in_front_of

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="needs the openssl command"
)


@pytest.fixture(scope="module")
def plain_ports() -> Iterator[dict[str, int]]:
    """Without TLS, by scheme."""
    engine = shared_engine()
    with contextlib.closing(socket_client(engine.socket_path, timeout_seconds=10)) as raw, GrpcStandIn(raw) as stand_in:
        yield {"https": int(engine.listen_address.rpartition(":")[2]), "grpcs": stand_in.port}


@pytest.fixture(scope="module", params=["https", "grpcs"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def address(scheme: str, ports: dict[str, int], certificate: Certificate) -> Iterator[str]:
    with tls_in_front_of(ports[scheme], certificate) as port:
        yield f"{scheme}://127.0.0.1:{port}"


def test_with_its_authority_a_server_is_spoken_to(scheme: str, plain_ports: dict[str, int], tmp_path: Path) -> None:
    mine = certificate_for("IP:127.0.0.1", tmp_path)
    config = store_config(tls_ca_file=str(mine.certificate))
    with (
        address(scheme, plain_ports, mine) as url,
        contextlib.closing(store_at(url, config, api_key=API_KEY)) as store,
    ):
        store.ensure(WIDTH)
        store.upsert([sample_point("a.jpg")])
        assert store.count() == 1
        assert store.info().address == url
    drop_collection(shared_engine().socket_path, config.collection)


@pytest.mark.parametrize(("names", "known"), [("IP:127.0.0.1", False), ("DNS:elsewhere", True)])
def test_a_certificate_that_nobody_vouches_for_or_of_another_name_is_refused(
    scheme: str, plain_ports: dict[str, int], tmp_path: Path, names: str, known: bool
) -> None:
    mine = certificate_for(names, tmp_path)
    config = store_config(timeout_seconds=2.0)
    if known:
        config = replace(config, tls_ca_file=str(mine.certificate))
    with (
        address(scheme, plain_ports, mine) as url,
        contextlib.closing(store_at(url, config, api_key=API_KEY)) as store,
    ):
        with pytest.raises(StoreUnavailable) as refused:
            store.ensure(WIDTH)
        assert "store.tls_ca_file" in refused.value.hint, refused.value.sentence()
        assert API_KEY not in refused.value.sentence()
