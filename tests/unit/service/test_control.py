"""The control socket: what it carries, and that it goes on answering whatever happens to it."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipwatch.errors import ConfigError
from clipwatch.service import control
from clipwatch.service.ask import SILENT_SECONDS, RemoteError, ask
from clipwatch.service.control import Answer, ControlServer
from support.folders import LogBook, wait_until


def echo(request: dict[str, Any]) -> Answer:
    yield {"item": 1}
    return {"size": len(request.get("image", b"")), "tail": request.get("image", b"")[-3:].decode()}


def refuse(_request: dict[str, Any]) -> Answer:
    yield from ()
    raise ConfigError("No.", hint="Ask otherwise.")


@pytest.fixture(name="log")
def _log() -> LogBook:
    return LogBook()


@pytest.fixture(name="server")
def _server(tmp_path: Path, log: LogBook) -> Iterator[ControlServer]:
    with contextlib.closing(ControlServer(tmp_path, {"echo": echo, "refuse": refuse}, log)) as server:
        yield server


def result(state: Path, request: dict[str, Any], seconds: float | None = 20) -> Any:
    answer = ask(state, request, seconds)
    assert answer is not None
    while True:
        try:
            next(answer)
        except StopIteration as end:
            return end.value


@pytest.mark.usefixtures("server")
def test_a_picture_larger_than_any_line_arrives_whole(tmp_path: Path) -> None:
    picture = b"\x00" * 90_000_000 + b"end"
    assert result(tmp_path, {"command": "echo", "image": picture}) == {"size": 90_000_003, "tail": "end"}
    assert result(tmp_path, {"command": "echo"}) == {"size": 0, "tail": ""}


@pytest.mark.usefixtures("server")
def test_a_refusal_keeps_its_words_and_its_status(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"^No\.$") as caught:
        result(tmp_path, {"command": "refuse"})
    assert (caught.value.hint, caught.value.status) == ("Ask otherwise.", 2)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "line", [b"\n", b"[]\n", b"{}\n", b'{"command": []}\n', b'{"command": {"attached": [0, 1]}}\n', b"\xff\n"]
)
def test_nonsense_is_told_and_harms_nobody(tmp_path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as stream:
        client.connect(str(tmp_path / "control.sock"))
        client.sendall(line)
        assert b"does not know this request" in stream.readline()
    assert result(tmp_path, {"command": "echo"})


def test_its_name_is_for_this_user_only_and_goes_with_it(tmp_path: Path, server: ControlServer) -> None:
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    server.close()
    assert ask(tmp_path, {"command": "echo"}) is None
    assert list(tmp_path.iterdir()) == []


def test_it_listens_again_where_its_name_was_deleted_and_leaves_anothers_alone(
    tmp_path: Path, server: ControlServer, log: LogBook
) -> None:
    assert not server.renew()
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert ask(tmp_path, {"command": "echo"}) is None
    assert server.renew()
    assert result(tmp_path, {"command": "echo"})
    assert not server.renew()
    (tmp_path / "control.sock").unlink()
    with contextlib.closing(ControlServer(tmp_path, {"echo": echo}, log)):
        server.close()
        assert result(tmp_path, {"command": "echo"})


def test_a_directory_where_nothing_can_be_bound_is_one_sentence(
    tmp_path: Path, server: ControlServer, log: LogBook
) -> None:
    shutil.rmtree(tmp_path)
    with pytest.raises(ConfigError, match="cannot be used: No such file"):
        ControlServer(tmp_path, {}, log)
    with pytest.raises(ConfigError, match="cannot be used: No such file"):
        server.renew()
    tmp_path.mkdir()
    assert server.renew()


def test_running_out_of_descriptors_is_waited_out_without_spinning(
    tmp_path: Path, log: LogBook, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    accept = socket.socket.accept

    def counted(listener: socket.socket) -> Any:
        tries.append(1)
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", counted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result(tmp_path, {"command": "echo"})  # whoever accepts waits for the next one now
    with contextlib.ExitStack() as full, socket.socket(socket.AF_UNIX) as late, late.makefile("rb") as answer:
        late.settimeout(20)
        # What other tests left to the collector would give descriptors back in the middle of this one.
        gc.collect()
        gc.disable()
        full.callback(gc.enable)
        resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 8, hard))
        full.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(OSError):
            while True:
                full.callback(os.close, os.dup(0))
        late.connect(str(tmp_path / "control.sock"))
        wait_until(lambda: log.reasons("control.overloaded"))
        tries.clear()
        threading.Event().wait(0.5)
        assert len(tries) < 20
        full.close()
        late.sendall(b'{"command": "refuse"}\n')
        assert b"No." in answer.readline()
    assert len(log.reasons("control.overloaded")) == 1
    assert not server.renew()


def test_running_out_of_threads_costs_one_answer_and_no_more(
    tmp_path: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def no_more(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RemoteError, match="The daemon stopped"):
            result(tmp_path, {"command": "echo"})
    assert result(tmp_path, {"command": "echo"})
    assert not server.renew()


def test_who_is_not_answered_in_the_time_given_is_told_so_with_status_three(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "control.sock"))
        stopped.listen(1)
        with pytest.raises(RemoteError, match="does not answer") as caught:
            result(tmp_path, {"command": "echo"}, 0.1)
        assert caught.value.status == 3


def test_the_end_of_the_daemon_ends_a_question_that_waits_without_a_limit(tmp_path: Path, log: LogBook) -> None:
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(tmp_path / "control.sock"))
        dying.listen(1)
        closing = threading.Thread(target=lambda: dying.accept()[0].close())
        closing.start()
        with pytest.raises(RemoteError, match="The daemon stopped"):
            result(tmp_path, {"command": "echo"}, None)
        closing.join()


def _silent_daemon(state: Path) -> subprocess.Popen[bytes]:
    """One that listens and is stopped, as by SIGSTOP."""
    program = (
        "import os, signal, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.bind(sys.argv[1])\n"
        "s.listen(int(sys.argv[2]))\n"
        "print('up', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(state / "control.sock"), "1"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    return process


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_stopped_daemon_is_told_within_five_seconds(tmp_path: Path, waiting: int) -> None:
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(_silent_daemon(tmp_path))
        stack.callback(process.kill)
        for _ in range(waiting):  # its queue is full
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(tmp_path / "control.sock"))
        (tmp_path / "lock").write_text(f"{process.pid}\n")
        began = time.monotonic()
        with pytest.raises(RemoteError, match=rf"\(pid {process.pid}\) holds the lock .* it is stopped") as caught:
            result(tmp_path, {"command": "echo"}, None)
        assert time.monotonic() - began < 5
        assert caught.value.status == 3
        assert f"kill -CONT {process.pid}" in caught.value.hint


def test_a_daemon_that_lives_may_take_as_long_as_it_needs(tmp_path: Path, log: LogBook) -> None:
    release = threading.Event()

    def slow(_request: dict[str, Any]) -> Answer:
        yield from ()
        release.wait(20)
        return {"late": True}

    threading.Timer(SILENT_SECONDS + 2, release.set).start()
    with contextlib.closing(ControlServer(tmp_path, {"slow": slow}, log)):
        assert result(tmp_path, {"command": "slow"}, None) == {"late": True}


def test_a_daemon_of_an_older_version_that_knows_no_ping_is_alive(
    tmp_path: Path, log: LogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_pong", None)
    release = threading.Event()

    def slow(_request: dict[str, Any]) -> Answer:
        yield from ()
        release.wait(20)
        return {}

    threading.Timer(SILENT_SECONDS + 1, release.set).start()
    with contextlib.closing(ControlServer(tmp_path, {"slow": slow}, log)):
        assert result(tmp_path, {"command": "slow"}, None) == {}


def test_a_long_answer_in_many_pieces_arrives_whole(tmp_path: Path, log: LogBook) -> None:
    def long(_request: dict[str, Any]) -> Answer:
        for number in range(3):
            yield {"text": str(number) * 300_000}
        return {"text": "end"}

    with contextlib.closing(ControlServer(tmp_path, {"long": long}, log)):
        answer = ask(tmp_path, {"command": "long"})
        assert answer is not None
        assert [len(item["text"]) for item in answer] == [300_000] * 3
