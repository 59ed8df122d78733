"""One worker, spoken to directly: what it does by itself, and what is made of one that has been taken over."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import structlog

from clipwatch.config import ImageConfig, LimitsConfig
from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image.pool import DecodePool, DecodeSettings
from clipwatch.image.process import WorkerLost, WorkerProcess
from clipwatch.records import DecodedImage, Preprocessing
from support import pictures

SETTINGS = DecodeSettings.from_config(Preprocessing(), ImageConfig(exact_decode=True), LimitsConfig())

IMPOSTOR = """#!{python}
import os, socket, struct, sys, time
import clipwatch.image.protocol as p
connection = socket.socket(fileno=os.dup(0))
p.receive_document(connection)
p.send_document(connection, {{}})
message, descriptors, _, _ = socket.recv_fds(connection, 8, 1)
{answer}
connection.recv(1)
"""

HASHED = "connection.sendall(p.Answer(p.Kind.HASHED, number=struct.unpack('<Q', message)[0], text=bytes(32)).pack());"
DECODING = HASHED + "connection.recv(1);"
NONSENSE = {
    "an unknown kind": "connection.sendall(b'\\xff' * 178)",
    "pixels before the hash": "connection.sendall(p.Answer(p.Kind.PIXELS, 0, 9, 9).pack())",
    "an unknown reason": "connection.sendall(p.Answer(p.Kind.REJECTED, 99).pack())",
    "an unknown format": DECODING + "connection.sendall(p.Answer(p.Kind.PIXELS, 7, 9, 9).pack())",
    "no size": DECODING + "connection.sendall(p.Answer(p.Kind.PIXELS).pack())",
    "too few pixels": HASHED
    + "connection.recv(1); connection.sendall(p.Answer(p.Kind.PIXELS, 0, 9, 9).pack()); sys.exit()",
    "an early end": "sys.exit(3)",
}


def impostor(tmp_path: Path, answer: str) -> str:
    script = tmp_path / "impostor"
    script.write_text(IMPOSTOR.format(python=sys.executable, answer=answer), encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def through(pool: DecodePool, path: Path) -> BaseException | None:
    return pool.submit(pictures.opened_file(path)).exception(60)


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_from_a_worker_is_a_crash_and_a_fresh_worker(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(pictures.small_jpeg())
    pool = DecodePool(SETTINGS, workers=1, known=lambda _: False, logger=structlog.get_logger())
    try:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", impostor(tmp_path, answer))
            error = through(pool, path)
        assert isinstance(error, FileRejected)
        assert error.reason == RejectReason.CRASHED
        assert isinstance(pool.submit(pictures.opened_file(path)).result(60), DecodedImage)
    finally:
        pool.close()


def test_what_a_worker_says_is_never_raw_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(pictures.small_jpeg())
    said = "connection.sendall(p.Answer(p.Kind.REJECTED, 2, text=b'\\x1b]0;owned\\x07\\n\\xff').pack())"
    monkeypatch.setattr(sys, "executable", impostor(tmp_path, said))
    pool = DecodePool(SETTINGS, workers=1, known=lambda _: False, logger=structlog.get_logger())
    try:
        error = through(pool, path)
        assert isinstance(error, FileRejected)
        assert error.message.isprintable()
        assert "owned" in error.message
    finally:
        pool.close()


def test_a_worker_ends_itself_when_it_has_used_its_processor_time(tmp_path: Path) -> None:
    """Even where the parent, which measures the wall time, is not looking."""
    path = tmp_path / "slow.jpg"
    path.write_bytes(pictures.camera_jpeg(4000, 3000, progressive=True))
    worker = WorkerProcess()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        worker.handshake(SETTINGS.recipe(), 0.05)
        worker.restart_clock(60)
        worker.hash(descriptor, path.stat().st_size)
        with pytest.raises(WorkerLost) as caught:
            worker.decode(224)
        assert caught.value.status == -signal.SIGPROF
        assert caught.value.rejection(0.05).reason == RejectReason.TIMEOUT
    finally:
        os.close(descriptor)
        worker.end()
