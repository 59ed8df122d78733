"""What commands beside, or without, a daemon leave alone, and how soon they say that they cannot go on."""

from __future__ import annotations

import contextlib
import socket

import pytest

from support.commands import Home

pytestmark = pytest.mark.slow

ASKING = (("status",), ("verify",), ("search", "a cat"), ("export",), ("sync", "--dry-run"))
"""Commands that only ask."""


def test_only_the_daemon_listens_on_the_stores_address(home: Home) -> None:
    home.add_samples("cat.jpg")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        home.environment |= {
            "CLIPWATCH_STORE__EMBEDDED_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
            "CLIPWATCH_STORE__API_KEY": "secret",
        }
        home.run("sync")
        for command in ASKING:
            home.run(*command)
        assert all(check["ok"] for check in home.json("check", expect=None)["checks"] if check["name"] == "store")
        assert "cannot be listened on" in home.run("run", expect=2).stderr
