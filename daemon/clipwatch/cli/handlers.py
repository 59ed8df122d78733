"""What a running daemon answers on its control socket."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from clipwatch.cli.assemble import Context, Parts
from clipwatch.errors import ClipwatchError
from clipwatch.folder.ignored import telling
from clipwatch.mirror.losses import Now
from clipwatch.service.answers import adopt, export, forget
from clipwatch.service.control import Answer, Handler
from clipwatch.service.daemon import Daemon

COMMANDS = ("status", "search", "verify", "export", "forget", "adopt", "plan", "sync", "confirm")


def while_starting() -> dict[str, Handler]:
    """Answers until model and store are open: that it starts, and to try again."""

    def status(_request: dict[str, Any]) -> Answer:
        yield from ()
        counts = dict.fromkeys(("images", "points", "pending", "rejected", "held"), 0)
        return {"state": "starting", **counts, **telling({}, {}), "model": {}, "store": {}, "watch": []}

    def later(_request: dict[str, Any]) -> Answer:
        yield from ()
        raise ClipwatchError("The daemon is still starting.", hint="Try again in a moment.")

    return {**dict.fromkeys(COMMANDS, later), "status": status}


def handlers(
    daemon: Daemon, parts: Parts, context: Context, whole_status: Callable[[], dict[str, Any]]
) -> dict[str, Handler]:
    """What the control socket answers."""
    answers = parts.answers()

    def status(_request: dict[str, Any]) -> Answer:
        yield from ()
        result: dict[str, Any] = daemon.ask(whole_status)
        return result

    def search(request: dict[str, Any]) -> Answer:
        yield from ()
        return answers.search(request)

    def verify(request: dict[str, Any]) -> Answer:
        yield from ()
        return answers.verify(deep=bool(request.get("deep")))

    def export_points(request: dict[str, Any]) -> Answer:
        yield from export(parts.front, vectors=bool(request.get("vectors")))
        return {}

    def forget_folder(request: dict[str, Any]) -> Answer:
        yield from ()
        name = str(request.get("name", ""))
        answer = forget(context.config, parts.front, name, parts.owners, force=bool(request.get("force")))
        if parts.rebuild.under_way:
            parts.store.delete_folder(name)
        return answer

    def adopt_folder(request: dict[str, Any]) -> Answer:
        yield from ()
        name = str(request.get("name", ""))
        answer = adopt(context.config, parts.owners, name)
        daemon.ask(lambda: daemon.mirror.owner_changed(name))
        return answer

    def plan(_request: dict[str, Any]) -> Answer:
        return (yield from answers.plan(Now.of(context.clock)))

    def sync(_request: dict[str, Any]) -> Answer:
        return (yield from _watched_sync(daemon, None))

    def confirm(_request: dict[str, Any]) -> Answer:
        before = daemon.ask(lambda: daemon.mirror.counts.deleted)
        result = yield from _watched_sync(daemon, daemon.mirror.confirm)
        after = daemon.ask(lambda: daemon.mirror.counts.deleted)
        return {"deleted": after - before, "undone": result["undone"]}

    return {
        "status": status,
        "search": search,
        "verify": verify,
        "export": export_points,
        "forget": forget_folder,
        "adopt": adopt_folder,
        "plan": plan,
        "sync": sync,
        "confirm": confirm,
    }


def _watched_sync(daemon: Daemon, looks: Any) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Ask the loop for a pass and tell how it goes until it is done."""
    request = daemon.ask(lambda: daemon.request_sync(looks))
    while not request.done.wait(0.5):
        yield daemon.ask(lambda: {"counts": request.counts(), "pending": daemon.mirror.pending()})
    if request.error is not None:
        raise request.error
    return {**request.result, "undone": request.undone}
