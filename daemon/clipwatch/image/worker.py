"""The process that decodes: `python -m clipwatch.image.worker`, with a socket to its parent as standard input.

It sees descriptors, never paths. Everything it needs is imported and tried before the walls go up; nothing can be
imported afterwards. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import os
import signal
import socket
import sys
from typing import Final

from clipwatch.errors import FileRejected, RejectReason
from clipwatch.image import container, preprocess, sandbox
from clipwatch.image.container import OTHER_PICTURES
from clipwatch.image.preprocess import Prepared, Recipe
from clipwatch.image.protocol import (
    DECODE,
    FORMATS,
    JOB,
    REASONS,
    Answer,
    Kind,
    receive,
    receive_document,
    send_document,
)
from clipwatch.image.samples import SAMPLES

_DESCRIPTORS: Final = 8
"""Standard ones, the socket, /proc/self/statm, a picture; the rest is headroom."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Serve one parent until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=os.dup(0))
    connection.setblocking(True)
    settings = receive_document(connection)
    if not sandbox.die_with(settings["parent"]):
        return
    background = settings["recipe"]["background"]
    recipe = Recipe(**{**settings["recipe"], "background": background and tuple(background)})
    try_samples(recipe)
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if sys.platform == "linux" else None
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    gc.freeze()
    walls = sandbox.raise_walls(recipe.memory_bytes, _DESCRIPTORS)
    send_document(connection, dataclasses.asdict(walls))
    while serve(connection, recipe, settings["seconds"], statm):
        pass


def try_samples(recipe: Recipe) -> None:
    """Decode a picture of each kind, so that every late import is done; a decoder that is wrong ends here."""
    tiny = dataclasses.replace(recipe, side=4, squash=False, resize_side=4)
    for name, (data, expected) in SAMPLES.items():
        seen = preprocess.prepare(data, tiny).image.tobytes()[:3]
        if any(abs(a - b) > 16 for a, b in zip(seen, expected, strict=True)):
            raise SystemExit(f"Pillow decodes the built-in {name} wrong: {tuple(seen)} for {expected}.")
    jpeg, png = SAMPLES["JPEG"][0], SAMPLES["PNG"][0]
    for broken in (b"GIF89a", jpeg[:-4] + jpeg[-2:], jpeg[:-2], png[:-12], png[:-20] + png[-12:]):
        with contextlib.suppress(FileRejected):
            preprocess.prepare(broken, tiny)


def serve(connection: socket.socket, recipe: Recipe, seconds: float, statm: int | None) -> bool:
    """One picture; False when the parent is gone."""
    try:
        job, descriptors, _, _ = socket.recv_fds(connection, JOB.size, 1)
    except OSError:
        return False
    if not job or not descriptors:
        return False
    (size,) = JOB.unpack(job)
    # processor time; ends the process where even the parent that measures the wall time hangs
    signal.setitimer(signal.ITIMER_PROF, seconds)
    pixels = b""
    try:
        refuse_other(descriptors[0], size)
        data = read_whole(descriptors[0], size)
        digest = hashlib.sha256(data).digest()
        connection.sendall(Answer(Kind.HASHED, number=len(data), text=digest).pack())
        if receive(connection, 1) != DECODE:
            return True
        prepared = preprocess.prepare(data, recipe)
        answer = accepted(prepared, resident_bytes(statm))
        pixels = prepared.image.tobytes()
    except FileRejected as rejected:
        answer = refused(rejected, resident_bytes(statm))
    except MemoryError:
        answer = refused(
            FileRejected(RejectReason.MEMORY, "The file needs more memory than a decoder may take."),
            resident_bytes(statm),
        )
    except EOFError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    connection.sendall(answer.pack())
    if pixels:
        connection.sendall(pixels)
    return True


def refuse_other(descriptor: int, size: int) -> None:
    """Raise `FileRejected` where the first bytes tell of another format, and close the descriptor then.

    There may be 100,000 of them in a folder: they are not read to their end.
    """
    try:
        head = os.pread(descriptor, min(size, container.HEAD_BYTES), 0)
    except OSError:
        return  # `read_whole` says why
    try:
        container.refuse_other(head)
    except FileRejected:
        os.close(descriptor)
        raise


def read_whole(descriptor: int, size: int) -> bytes:
    """*size* bytes, or fewer where the file has become shorter; the descriptor is closed."""
    try:
        parts = [os.pread(descriptor, size, 0)]
        while parts[-1] and (done := sum(map(len, parts))) < size:
            parts.append(os.pread(descriptor, size - done, done))
    except OSError as error:
        raise FileRejected(RejectReason.UNREADABLE, f"The file cannot be read: {error.strerror}.") from error
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def accepted(prepared: Prepared, resident: int) -> Answer:
    code = FORMATS.index(prepared.format)
    return Answer(Kind.PIXELS, code, prepared.width, prepared.height, resident)


def refused(rejected: FileRejected, resident: int) -> Answer:
    return Answer(
        Kind.REJECTED,
        REASONS.index(rejected.reason),
        width=1 + OTHER_PICTURES.index(rejected.other_format) if rejected.other_format else 0,
        number=resident,
        text=rejected.sentence().encode("ascii", "replace"),
    )


def resident_bytes(statm: int | None) -> int:
    """What the process holds in memory now; 0 where the system does not tell."""
    return 0 if statm is None else int(os.pread(statm, 64, 0).split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    main()
