"""A command as a person sees it."""

from __future__ import annotations

import os
import re
import subprocess
import termios

from support.commands import COMMAND, Home


def on_a_terminal(home: Home, *arguments: str) -> str:
    """What a command shows a person, without colours."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=home.path, env=home.full_environment(), stdout=theirs, stderr=theirs, stdin=theirs
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux tells that the other end was closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) in (0, 1), shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))
