"""Real engine processes that are killed, orphaned, doubled and starved: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import qdrant_edge
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from clipwatch.engine.files import allocated_bytes, take_lock
from clipwatch.engine.process import Engine
from clipwatch.errors import LockHeld
from support.engines import BATCH, WIDTH, Notes, batch, client_of, running_engine
from support.folders import wait_until
from support.processes import is_alive
from support.small_disk import small_disk

pytestmark = pytest.mark.filterwarnings(
    # httpcore leaves a Unix socket that could not be connected to the garbage collector.
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <socket.socket:ResourceWarning",
)
NAME = "images"


def create(client: QdrantClient, width: int = WIDTH) -> None:
    client.create_collection(NAME, models.VectorParams(size=width, distance=models.Distance.COSINE))


def shard_of(directory: Path) -> Path:
    (found,) = (directory / "collections").glob("*/shard")
    return found


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_no_batch_is_torn_by_kills(tmp_path: Path) -> None:
    dice = random.Random(7)
    acknowledged = dict.fromkeys(range(8), 0)
    with running_engine(tmp_path / "store") as engine, client_of(engine) as client:
        create(client)
        for number in acknowledged:
            client.upsert(NAME, batch(number, 0))
        for kill in range(6):
            victim = engine.pid
            assert victim is not None
            killer = threading.Timer(dice.uniform(0.05, 0.4), os.kill, (victim, signal.SIGKILL))
            killer.start()
            generation = 1 + kill * 1000
            with contextlib.suppress(ResponseHandlingException):
                while True:
                    number = dice.randrange(len(acknowledged))
                    client.upsert(NAME, batch(number, generation))
                    acknowledged[number] = generation
                    generation += 1
            killer.join()
            assert engine.ensure_running()
            for number, least in acknowledged.items():
                stored = client.retrieve(NAME, range(number * BATCH, (number + 1) * BATCH), with_vectors=True)
                generations = {item.payload["g"] for item in stored if item.payload}
                assert len(stored) == BATCH
                assert len(generations) == 1
                (found,) = generations
                assert found >= least
                for item in stored:
                    assert isinstance(item.vector, list)
                    assert item.vector[1] == pytest.approx(found / (1 + found**2) ** 0.5, abs=1e-6)


@pytest.mark.slow
def test_a_kill_while_a_collection_is_made_leaves_all_or_nothing(tmp_path: Path) -> None:
    with running_engine(tmp_path / "store") as engine, client_of(engine) as client:
        for delay in (0.005, 0.02, 0.05):
            victim = engine.pid
            assert victim is not None
            killer = threading.Timer(delay, os.kill, (victim, signal.SIGKILL))
            killer.start()
            with contextlib.suppress(ResponseHandlingException):
                create(client)
            killer.join()
            wait_until(lambda pid=victim: not is_alive(pid))  # type: ignore[misc]
            assert engine.ensure_running()
            if not client.collection_exists(NAME):
                create(client)
            client.upsert(NAME, batch(0, 1))
            assert client.count(NAME).count == BATCH
            client.delete_collection(NAME)


def test_a_second_engine_is_refused_and_the_first_one_stays_healthy(tmp_path: Path) -> None:
    notes = Notes()
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        create(client)
        with pytest.raises(LockHeld, match=rf"pid {engine.pid}") as caught:
            Engine(tmp_path / "store", logger=Notes(), lock_wait_seconds=0.2).start()
        assert caught.value.exit_status == 4
        (tmp_path / "link").symlink_to(tmp_path / "store")
        program = [sys.executable, "-m", "clipwatch.engine", str(tmp_path / "link")]
        program += ["--socket", str(tmp_path / "s"), "--lock-wait", "0.1"]
        second = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (second.returncode, len(second.stderr.splitlines())) == (4, 1)
        for number in range(3):
            client.upsert(NAME, batch(number, 0))
        assert notes.lines() == []


def test_a_flush_that_fails_is_cured_by_opening_anew(tmp_path: Path) -> None:
    """A second opener that ignores our lock ruins the holder's every later flush."""
    notes = Notes()
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        create(client)
        client.upsert(NAME, batch(0, 1))
        with pytest.raises(Exception, match="WouldBlock"):
            qdrant_edge.EdgeShard.load(str(shard_of(tmp_path / "store")))
        client.upsert(NAME, batch(1, 2))
        wait_until(lambda: any("opened anew" in line for line in notes.lines()))
        client.upsert(NAME, batch(2, 3))
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        wait_until(lambda: engine.pid is None)
        engine.ensure_running()
        assert client.count(NAME).count == 3 * BATCH


def test_an_orphan_ends_when_its_parent_is_killed_and_the_next_daemon_waits_for_it(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, pathlib
        from support.engines import Notes
        from clipwatch.engine.process import Engine
        engine = Engine(pathlib.Path(sys.argv[1]), logger=Notes())
        engine.start()
        print(engine.pid, flush=True)
        sys.stdin.read()
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    with parent:
        assert parent.stdout is not None
        assert select.select([parent.stdout], [], [], 30)[0]
        orphan = int(parent.stdout.readline())
        parent.kill()
        with running_engine(tmp_path / "store") as engine:
            assert engine.pid != orphan
            wait_until(lambda: not is_alive(orphan))


def test_signals_to_the_group_do_not_end_it_and_closing_does(tmp_path: Path) -> None:
    notes = Notes()
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        create(client)
        pid = engine.pid
        assert pid is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        client.upsert(NAME, batch(0, 1))
        assert not engine.ensure_running()
        assert engine.pid == pid
        socket_path = engine.socket_path
        engine.close()
        assert not is_alive(pid)
        assert not socket_path.exists()
        assert not engine.ensure_running()
    assert [event for _, event, _ in notes.entries] == ["engine.started"]


def test_a_dead_engine_comes_back_at_the_same_address_with_everything(tmp_path: Path) -> None:
    notes = Notes()
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        create(client)
        client.create_payload_index(NAME, "g", models.PayloadSchemaType.INTEGER)
        client.update_collection(NAME, metadata={"a": 1})
        client.update_collection_aliases(
            [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=NAME, alias_name="al"))]
        )
        client.upsert(NAME, batch(0, 1))
        before, first, address = client.get_collection(NAME), engine.pid, engine.socket_path
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: engine.pid is None)
        with pytest.raises(ResponseHandlingException):
            client.count(NAME)
        assert engine.ensure_running()
        assert engine.pid != first
        assert engine.socket_path == address
        assert client.count("al").count == BATCH
        assert client.get_collection(NAME) == before
        died = [fields for _, event, fields in notes.entries if event == "engine.died"]
        assert died == [{"pid": first, "status": -signal.SIGKILL, "hung": False, "message": "Signal 9 ended it."}]


def emptied(store: Path) -> None:
    for directory in (store / "collections").iterdir():
        shutil.rmtree(directory)


def replaced(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))
    store.mkdir()


@pytest.mark.parametrize(
    ("lose", "left"),
    [
        (shutil.rmtree, 0),
        (emptied, 0),
        (replaced, 0),
        (lambda store: store.with_name("store.lock").unlink(), BATCH),
    ],
    ids=["deleted", "emptied", "replaced", "lock"],
)
def test_a_store_that_is_taken_away_is_opened_anew_and_writes_last(
    tmp_path: Path, lose: Callable[[Path], object], left: int
) -> None:
    notes = Notes()
    with running_engine(tmp_path / "store", logger=notes) as engine, client_of(engine) as client:
        create(client)
        client.upsert(NAME, batch(0, 1))
        first = engine.pid
        lose(tmp_path / "store")
        with pytest.raises(ResponseHandlingException):
            client.count(NAME)
        assert engine.ensure_running()
        assert engine.pid != first
        assert client.collection_exists(NAME) == bool(left)
        if not left:
            create(client)
        client.upsert(NAME, batch(1, 2))
        with pytest.raises(LockHeld, match=rf"pid {engine.pid}"):
            Engine(tmp_path / "store", logger=Notes(), lock_wait_seconds=0.2).start()
    with running_engine(tmp_path / "store") as engine, client_of(engine) as client:
        assert client.count(NAME).count == left + BATCH
    assert len(notes.lines()) == 1
    assert "deleted, moved or replaced" in notes.lines()[0]


def test_a_lock_on_a_file_that_was_deleted_meanwhile_is_none(tmp_path: Path) -> None:
    store, file = tmp_path / "store", str(tmp_path / "store.lock")
    holder = take_lock(store, 0)

    def openers() -> int:
        links = []
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        return links.count(file)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take_lock, store, 20)
        wait_until(lambda: openers() == 2)
        os.unlink(file)
        os.close(holder.descriptor)
        taken = waiting.result()
    with pytest.raises(LockHeld):
        take_lock(store, 0)
    os.close(taken.descriptor)


@pytest.mark.slow
def test_a_hung_engine_is_replaced(tmp_path: Path) -> None:
    with running_engine(tmp_path / "store", hung_seconds=0.5) as engine:
        hung = engine.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        assert not engine.ensure_running()
        assert engine.ensure_running()
        assert not is_alive(hung)
        assert not engine.ensure_running()


def refused_for_space(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        client.upsert(NAME, batch(1, 1))
    assert caught.value.status_code == 503
    assert "Free space" in caught.value.structured()["status"]["error"]


def test_writes_stop_before_the_reserve_is_touched_and_reads_go_on(tmp_path: Path) -> None:
    with running_engine(tmp_path / "store") as engine, client_of(engine) as client:
        create(client)
        client.upsert(NAME, batch(0, 1))
    with running_engine(tmp_path / "store", reserve_bytes=2**60) as engine, client_of(engine) as client:
        with pytest.raises(UnexpectedResponse, match="Free space"):
            client.create_collection("other", models.VectorParams(size=3, distance=models.Distance.DOT))
        with pytest.raises(UnexpectedResponse, match="Free space"):
            client.delete(NAME, [1])
        assert client.count(NAME).count == BATCH


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 420) as disk:
        yield disk


def test_a_full_disk_is_told_and_heals_by_itself(disk: Path) -> None:
    with running_engine(disk / "store") as engine, client_of(engine) as client:
        create(client)
        client.upsert(NAME, batch(0, 1))
        pid = engine.pid
        with open(disk / "filler", "wb") as stream:  # noqa: PTH123
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free - 100_000_000)
        refused_for_space(client)
        assert client.count(NAME).count == BATCH
        (disk / "filler").unlink()
        client.upsert(NAME, batch(1, 1))
        assert client.count(NAME).count == 2 * BATCH
        assert engine.pid == pid


def test_a_disk_with_no_room_at_all_does_not_kill_the_engine(disk: Path) -> None:
    with running_engine(disk / "store") as engine, client_of(engine) as client:
        create(client)
        client.upsert(NAME, batch(0, 1))
    with open(disk / "filler", "wb") as stream:  # noqa: PTH123
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(disk).free)
    with running_engine(disk / "store") as engine, client_of(engine) as client:
        pid = engine.pid
        with pytest.raises(UnexpectedResponse, match="Free space"):
            client.count(NAME)
        refused_for_space(client)
        (disk / "filler").unlink()
        assert client.count(NAME).count == BATCH
        assert engine.pid == pid


@pytest.mark.slow
def test_what_was_deleted_is_given_back_when_idle(tmp_path: Path) -> None:
    with running_engine(tmp_path / "store", idle_seconds=0.5) as engine, client_of(engine) as client:
        client.create_collection(NAME, models.VectorParams(size=512, distance=models.Distance.COSINE))
        vectors = [[1.0, float(n)] + [0.1] * 510 for n in range(500)]
        for part in range(8):
            client.upsert(NAME, models.Batch(ids=list(range(part * 500, part * 500 + 500)), vectors=vectors))
        client.delete(NAME, models.PointIdsList(points=list(range(3000))))
        shard = shard_of(tmp_path / "store")
        segment = {path.name for path in (shard / "segments").iterdir()}
        full = allocated_bytes(shard / "segments")
        wait_until(lambda: {path.name for path in (shard / "segments").iterdir()}.isdisjoint(segment))
        wait_until(lambda: allocated_bytes(shard / "segments") < full * 0.8)
        assert client.count(NAME).count == 1000
        client.upsert(NAME, models.Batch(ids=[1], vectors=[vectors[1]]))
        assert client.count(NAME).count == 1001
