"""The walls, tried from inside: each forbidden thing is attempted by a process behind them."""

from __future__ import annotations

import ast
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from clipwatch.image import sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")

PRELUDE = """
import ctypes, os, signal, socket, struct, subprocess, sys, threading, mmap, resource, _posixsubprocess
from clipwatch.image import sandbox
libc = ctypes.CDLL(None, use_errno=True)
report = os.dup(1)
secret, parent, where = sys.argv[1], os.getppid(), os.open(sys.argv[2], os.O_RDONLY)
plain = socket.socketpair()
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
walls = sandbox.raise_walls(512 << 20, 64)
try:
    {attempt}
except BaseException as error:
    os.write(report, repr(type(error).__name__ + " " + str(error)).encode())
else:
    os.write(report, b"'done'")
os._exit(0)
"""

FORBIDDEN = {
    "open a file": "open(secret)",
    "open a file relative to a folder": "os.open('secret', os.O_RDONLY, dir_fd=where)",
    "make a file": "open(secret + '.new', 'w')",
    "list a folder": "os.listdir('/')",
    "list a folder it has open": "os.listdir(where)",
    "ask about a path": "os.stat(secret)",
    "follow a link": "os.readlink('/proc/self/exe')",
    "remove a file": "os.unlink(secret)",
    "change a file's rights": "os.chmod(secret, 0)",
    "rename a file": "os.rename(secret, secret + '2')",
    "change the working folder": "os.chdir('/')",
    "open an internet socket": "socket.socket(socket.AF_INET)",
    "open a datagram socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "open a local socket": "socket.socket(socket.AF_UNIX)",
    "connect a socket it has": "plain[0].connect(secret)",
    "bind a socket it has": "plain[0].bind(secret)",
    "fork": "os.fork()",
    "start a thread": "threading.Thread(target=print).start()",
    "start a program": "subprocess.run(['true'])",
    "become a program": "os.execv('/bin/true', ['true'])",
    "kill its parent": "os.kill(parent, 0)",
    "kill everything": "os.kill(-1, 0)",
    "signal another process's thread": "call({tgkill}, parent, parent, 0)",
    "trace its parent": "call({ptrace}, 16, parent, 0, 0)",
    "raise its limits": "resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))",
    "make executable memory": "mmap.mmap(-1, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)",
    "share memory, which no limit counts": "mmap.mmap(-1, 600 << 20, flags=mmap.MAP_SHARED)",
    "make a memory file": "os.memfd_create('x')",
    "make a pipe": "os.pipe()",
    "take privileges": "os.setuid(65534)",
    "change its name": "libc.prctl(15, b'x') and call(157, 15, b'x')",
    "load a module": "import wave",
    "use more memory than it may": "bytearray(600 << 20)",
}


def attempt(code: str, tmp_path: Path) -> str:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="ascii")
    numbers = {"x86_64": {"tgkill": 234, "ptrace": 101}, "aarch64": {"tgkill": 131, "ptrace": 117}}
    code = code.format(**numbers[os.uname().machine]) if "{" in code else code
    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE.replace("{attempt}", code), str(secret), str(tmp_path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert secret.read_text(encoding="ascii") == "secret"
    assert ran.stdout, (ran.returncode, ran.stderr)
    return str(ast.literal_eval(ran.stdout.decode()))


@pytest.mark.parametrize("code", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_walled_process_cannot(code: str, tmp_path: Path) -> None:
    said = attempt(code, tmp_path)
    refusals = ("PermissionError", "not allowed", "can't start new thread", "BlockingIOError")
    expected = ("MemoryError",) if "bytearray" in code else refusals
    assert any(word in said for word in expected), said


def test_what_decoding_needs_is_still_there(tmp_path: Path) -> None:
    needs = "bytearray(300 << 20); plain[0].send(b'x'); assert plain[1].recv(1) == b'x'; os.close(where)"
    assert attempt(needs, tmp_path) == "done"


def test_landlock_alone_keeps_files_shut(tmp_path: Path) -> None:
    """Were the filter to be missing, files would still be out of reach."""
    code = f"""
import ctypes, sys
from clipwatch.image import sandbox
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if not sandbox._landlock(libc):
    print("none")
else:
    for path in ({str(tmp_path)!r}, {__file__!r}):
        try:
            open(path)
        except PermissionError:
            print("refused")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    if ran.stdout == "none\n":
        pytest.skip("this kernel has no Landlock")
    assert ran.stdout == "refused\nrefused\n"


def run_filter(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Interpret the few instructions that the filter is made of, over a `struct seccomp_data`."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        code, true, false, value = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += true if holds else false


@pytest.mark.parametrize(
    ("machine", "architecture", "numbers"),
    [
        (
            "x86_64",
            0xC000003E,
            {"read": 0, "open": 2, "mmap": 9, "socket": 41, "fork": 57, "openat": 257},
        ),
        ("aarch64", 0xC00000B7, {"read": 63, "openat": 56, "mmap": 222, "socket": 198, "execve": 221, "clone": 220}),
    ],
)
def test_the_filter_of_each_machine_lets_through_only_what_it_must(
    machine: str, architecture: int, numbers: dict[str, int]
) -> None:
    program = sandbox.seccomp_program(machine, 42)
    assert program is not None
    allow, kill = 0x7FFF0000, 0x80000000
    for name, number in numbers.items():
        verdict = run_filter(program, architecture, number)
        assert (verdict == allow) == (name in ("read", "mmap")), name
    assert run_filter(program, architecture, numbers["mmap"], 0, 4096, 3) == allow
    assert run_filter(program, architecture, numbers["mmap"], 0, 4096, 3, 0x22) == allow
    assert run_filter(program, architecture, numbers["mmap"], 0, 4096, 3, 0x21) != allow
    assert run_filter(program, architecture, numbers["mmap"], 0, 4096, 7) != allow
    assert run_filter(program, architecture, numbers["mmap"], 0, 4096, 4 | 1 << 32) != allow
    assert run_filter(program, 0x40000003, numbers["read"]) == kill
    assert run_filter(program, architecture, 0x40000000 | numbers["read"]) != allow


def test_a_machine_whose_calls_are_not_known_gets_no_filter() -> None:
    assert sandbox.seccomp_program("riscv64", 42) is None
