"""The walls around a decode worker: limits, Landlock, seccomp. One way only; each falls away where the system lacks it.

The seccomp filter is an allowlist: what a decoder needs once everything is imported is short, measured, and the same
for every libc (memory, one socket, reading a descriptor), while a denylist has to name each door that a kernel will
ever add. All else is refused with EPERM. System call numbers: the kernel's `syscall_64.tbl`, `asm-generic/unistd.h`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_REFUSE: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO, EPERM
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_DATA_NUMBER: Final = 0
_DATA_ARCHITECTURE: Final = 4
_PROT_EXEC: Final = 4
_MAP_SHARED: Final = 1
_X32: Final = 0x40000000

_NEEDED: Final = (
    *("read", "readv", "pread64", "write", "close", "fstat", "lseek"),
    *("recvfrom", "recvmsg", "sendto", "sendmsg", "poll", "ppoll"),
    *("munmap", "mremap", "brk", "madvise", "futex", "sched_yield", "membarrier", "rseq", "set_robust_list"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "setitimer"),
    *("clock_gettime", "gettimeofday", "getrandom", "getpid", "gettid", "getrusage", "exit", "exit_group"),
)
_NOT_EXECUTABLE: Final = ("mmap", "mprotect")
_ONLY_ITSELF: Final = ("tgkill",)  # abort() must be able to say what it was


def _numbers(table: str) -> dict[str, int]:
    words = table.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


_X86_64: Final = _numbers(
    """
    read 0 write 1 close 3 fstat 5 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13 rt_sigprocmask 14
    rt_sigreturn 15 pread64 17 readv 19 sched_yield 24 mremap 25 madvise 28 setitimer 38 getpid 39 sendto 44 recvfrom 45
    sendmsg 46 recvmsg 47 exit 60 gettimeofday 96 getrusage 98 sigaltstack 131 gettid 186 futex 202 restart_syscall 219
    clock_gettime 228 exit_group 231 tgkill 234 ppoll 271 set_robust_list 273 getrandom 318 membarrier 324 rseq 334
    """
)
_AARCH64: Final = _numbers(
    """
    close 57 lseek 62 read 63 write 64 readv 65 pread64 67 ppoll 73 fstat 80 exit 93 exit_group 94 futex 98
    set_robust_list 99 setitimer 103 clock_gettime 113 sched_yield 124 restart_syscall 128 tgkill 131 sigaltstack 132
    rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139 getrusage 165 gettimeofday 169 getpid 172 gettid 178 sendto 206
    recvfrom 207 sendmsg 211 recvmsg 212 brk 214 munmap 215 mremap 216 mmap 222 mprotect 226 madvise 233 getrandom 278
    membarrier 283 rseq 293
    """
)
_ARCHITECTURES: Final = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64, `linux/audit.h`."""

_LANDLOCK_CREATE: Final = 444
_LANDLOCK_RESTRICT: Final = 446
_LANDLOCK_FILES: Final = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""File rights by the ABI that brought them (`linux/landlock.h`); ABI 4 brought TCP, 6 abstract sockets and signals."""


@dataclass(frozen=True, slots=True)
class Walls:
    """What is in force: *landlock_abi* and *seccomp_filters* are 0 where the system has none."""

    landlock_abi: int
    seccomp_filters: int
    no_new_privileges: bool
    memory_bytes: int
    descriptors: int
    missing: str
    """Why a wall is not there, in words, or ""."""


def die_with(parent: int) -> bool:
    """Have the kernel kill this process when the thread that started it ends; False where that already happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def raise_walls(memory_bytes: int, descriptors: int) -> Walls:
    """Take away for ever what decoding does not need. Call with everything imported and no other thread running."""
    for limit, value in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, descriptors),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if sys.platform != "linux":
        return Walls(0, 0, False, memory_bytes, descriptors, "Landlock and seccomp are Linux's.")
    with contextlib.suppress(OSError):
        # when the machine runs out of memory, a decoder goes before the daemon
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return Walls(0, 0, False, memory_bytes, descriptors, "no_new_privs was refused, so nothing else can be had.")
    missing = []
    abi = _landlock(libc)
    if not abi:
        missing.append("the kernel has no Landlock")
    filtered = _seccomp(libc)
    if not filtered:
        missing.append(f"no seccomp filter for {platform.machine()} on this kernel")
    return Walls(abi, int(filtered), True, memory_bytes, descriptors, "; ".join(missing))


def _landlock(libc: ctypes.CDLL) -> int:
    """Every right on files, TCP, abstract sockets and signals handled, none granted; the ABI, or 0."""
    libc.syscall.restype = ctypes.c_long
    abi = int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))
    if abi < 1:
        return 0
    files = sum(rights for since, rights in _LANDLOCK_FILES if abi >= since)
    fields = (files, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = libc.syscall(_LANDLOCK_CREATE, struct.pack("<QQQ", *fields), ctypes.c_size_t(size), 0)
    if rules < 0:
        return 0
    try:
        return abi if libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _seccomp(libc: ctypes.CDLL) -> bool:
    program = seccomp_program(platform.machine(), os.getpid())
    if program is None:
        return False
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def seccomp_program(machine: str, process: int) -> bytes | None:
    """Classic BPF over `struct seccomp_data`, or None for a machine whose call numbers are not known here."""
    if machine not in _ARCHITECTURES or sys.byteorder != "little":
        return None
    architecture, numbers = _ARCHITECTURES[machine]

    def argument(index: int) -> int:
        return 16 + 8 * index

    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _DATA_ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _DATA_NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    # RLIMIT_DATA does not count what is mapped to be shared.
    steps += [
        (_EQUAL, 0, 3, numbers["mmap"]),
        (_LOAD, 0, 0, argument(3)),
        (_ANY_BIT, 0, 1, _MAP_SHARED),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _DATA_NUMBER),
    ]
    for name in _NOT_EXECUTABLE:
        steps += [
            (_EQUAL, 0, 4, numbers[name]),
            (_LOAD, 0, 0, argument(2)),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for name in _ONLY_ITSELF:
        steps += [
            (_EQUAL, 0, 4, numbers[name]),
            (_LOAD, 0, 0, argument(0)),
            (_EQUAL, 0, 1, process),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    for name in _NEEDED:
        if name in numbers:
            steps += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
