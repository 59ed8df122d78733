"""Opening a store from settings: what it costs, what it starts, what it survives."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipwatch import config_file
from clipwatch.clock import SystemClock
from clipwatch.config import StoreConfig, server_address
from clipwatch.engine.process import Engine
from clipwatch.errors import ConfigError, LockHeld, StoreUnavailable
from clipwatch.mirror.ledger import Ledger
from clipwatch.payload import LEDGER_KEYS, PATH_KEYS, ledger_row, picture_facts, stored_path
from clipwatch.records import Signature
from clipwatch.store.open import open_store
from clipwatch.store.points import stored_ids
from clipwatch.store.retry import RetryingStore
from support.stores import WIDTH, Told, sample_point, unit


def test_the_promise_the_retries_and_the_door_are_cheap_to_import() -> None:
    program = (
        "import sys, clipwatch.store.contract, clipwatch.store.retry, clipwatch.store.open\n"
        "print({'qdrant_client', 'grpc', 'httpx', 'pydantic', 'clipwatch.engine.process'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def embedded(directory: Path) -> StoreConfig:
    return StoreConfig(url=f"embedded:{directory / 'store'}")


def test_the_embedded_store_keeps_its_points_and_is_let_go_of(tmp_path: Path) -> None:
    for run in range(2):
        store = open_store(embedded(tmp_path), api_key="", runtime=tmp_path / "run", logger=Told())
        with contextlib.closing(store):
            store.ensure(WIDTH)
            assert store.count() == run
            store.upsert([sample_point("a.jpg")])
            assert store.info().kind == "embedded"


def test_a_killed_engine_is_one_failed_call(tmp_path: Path) -> None:
    told = Told()
    store = open_store(embedded(tmp_path), api_key="", runtime=tmp_path / "run", logger=told)
    with contextlib.closing(store):
        store.ensure(WIDTH)
        store.upsert([sample_point("a.jpg")])
        os.kill(told.events("engine.started")[-1]["pid"], signal.SIGKILL)
        states: list[bool] = []
        retrying = RetryingStore(
            store, stop=threading.Event(), clock=SystemClock(), logger=told, on_state=lambda up, _: states.append(up)
        )
        retrying.upsert([sample_point("b.jpg")])
        assert retrying.count() == 2
        assert retrying.search(unit(1), 5, model=sample_point("a.jpg").payload["model"])
        assert retrying.retries <= 2
        assert len(told.events("engine.started")) == 2
        assert states in ([], [False, True])  # none: the death was seen before the call


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    store = open_store(embedded(tmp_path), api_key="", runtime=tmp_path / "run", logger=Told())
    with contextlib.closing(store):
        other = Engine(tmp_path / "store", logger=Told(), runtime=tmp_path / "run2", lock_wait_seconds=0.1)
        with pytest.raises(LockHeld):
            other.start()


def test_a_server_is_not_spoken_to_before_the_first_call() -> None:
    config = StoreConfig(url="http://127.0.0.1:9", timeout_seconds=1.0)
    with contextlib.closing(open_store(config, api_key="k", runtime=Path("unused"), logger=Told())) as store:
        with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
            store.ensure(WIDTH)
        with pytest.raises(StoreUnavailable):
            store.info()


@settings(deadline=None)
@given(st.sampled_from(["http", "https", "grpc"]), st.text("ab1.-_:/[]%@ü ", max_size=20), st.text(max_size=20))
def test_a_client_can_be_made_for_whatever_the_settings_let_through(scheme: str, place: str, key: str) -> None:
    environment = {
        "CLIPWATCH_STORE__URL": f"{scheme}://{place}",
        "CLIPWATCH_STORE__API_KEY": key,
        "CLIPWATCH_WATCH__NAME": "mine",
    }
    try:
        config = config_file.load(None, environment).config.store
    except ConfigError:
        return
    open_store(config, api_key=config.api_key, runtime=Path("unused"), logger=Told()).close()


@pytest.mark.parametrize("content", [None, "no certificate"])
@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "grpcs://127.0.0.1:9"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, url: str, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"store\.tls_ca_file .*ca\.pem"):
        open_store(StoreConfig(url=url, tls_ca_file=str(file)), api_key="", runtime=tmp_path, logger=Told())


def test_an_address_is_shown_without_its_secrets() -> None:
    assert server_address("https://me:secret@host:6333/qdrant/?key=secret#x") == "https://host:6333/qdrant"
    assert server_address("grpc://[::1]:6334") == "grpc://[::1]:6334"


def test_rows_are_read_from_whatever_lies_in_a_payload() -> None:
    whole = {"size": 1, "mtime_ns": -5, "ctime_ns": 2**63 - 1, "content": "h", "model": "m", "more": 1}
    assert ledger_row(7, whole).signature == Signature(1, -5, 2**63 - 1)
    assert ledger_row(7, whole).id == (7).to_bytes(16, "big")
    for key, broken in (("content", 5), ("model", None)):
        row = ledger_row(7, {**whole, key: broken})
        assert (row.model, row.content) == ("", "")
    for key, value in (("ctime_ns", 2**63), ("size", True), ("size", 1.0)):
        row = ledger_row(7, {**whole, key: value})
        assert (row.signature, row.content, row.model) == (Signature(-1, -1, -1), "h", "m")
    assert ledger_row(7, None).model == ""


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 2**64 - 1, 10**400]),
    st.floats(),
    st.text(st.characters()),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(), st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*LEDGER_KEYS, *PATH_KEYS, "folder", "width", "format"]), ANYTHING))
def test_no_payload_of_others_is_too_odd_to_be_compared(payload: dict[str, Any]) -> None:
    row = ledger_row(7, payload)
    ledger = Ledger("images", "m")
    ledger.load([[row]])
    ledger.put(row)
    assert ledger.get(row.id) is not None
    stored_path(payload)
    facts = picture_facts(payload)
    assert all(isinstance(value, str) or -(2**63) <= value < 2**63 for value in facts.values())


@pytest.mark.parametrize("payload", [None, {}, {"path": 5}, {"path": ""}, {"path": "a", "path_base64": "x"}], ids=str)
def test_a_payload_without_a_path_names_none(payload: dict[str, object] | None) -> None:
    assert stored_path(payload) is None


def test_an_id_that_may_be_a_number_is_asked_for_as_both() -> None:
    ours = sample_point("a.jpg").id
    low = "00000000-0000-0000-0000-00000000002a"
    assert stored_ids([ours, low]) == [ours, low, 42]
