"""Any change, any fault, any restart, in any order: once quiet, the collection is the folder.

A failure prints its seed and a blob: `pytest tests/stateful --hypothesis-seed=SEED` or the printed
`@reproduce_failure` replays it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from clipwatch.config import BatchConfig, LimitsConfig, WatchConfig
from clipwatch.errors import CollectionMissing
from clipwatch.mirror.mirror import Mirror
from clipwatch.store.contract import Store
from support.faulty_proxy import Answer, CutAnswer, FaultyProxy, LoseAnswer, Reset, refusal, too_many, writes
from support.mirrors import HOUR, Bench, FakeClock, padded_picture, picture, put, retrying, run_until, state_of
from support.stores import Told, drop_collection, fresh_collection, sample_point, shared_engine, store_config, store_on

DIRECTORIES = ("", "a/", "a/b/", "c/")
NAMES = ("one.png", "two.png", "three.jpg", "caf\udce9.png", "line\nbreak.png", "UP.PNG")
PATHS = st.builds(str.__add__, st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
SEEDS = st.integers(0, 7)
FAULTS = (Reset(), LoseAnswer(), CutAnswer(), Answer(500), refusal(503, "no"), too_many("1"), Answer(200, b"?"))
TOLD = st.booleans()
"""Whether a watcher notices; what none did is found by the next look."""


class MirrorMachine(RuleBasedStateMachine):
    """A folder, whatever may happen to it, and a mirror that comes, goes and keeps up."""

    faulty = False
    settle_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        # Memory, where there is such a file system: thousands of small files are written.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="mirror-machine-", dir=memory))
        self.clock, told = FakeClock(), Told()
        config = store_config(collection=fresh_collection())
        self.collection, self.engine = config.collection, shared_engine()
        self.stop = threading.Event()
        self.proxy: FaultyProxy | None = None
        socket = self.engine.socket_path
        if self.faulty:
            socket = self.directory / "p.sock"
            self.proxy = FaultyProxy(self.engine.socket_path, socket=socket)
        self.inner = store_on(socket, config)
        store: Store = retrying(self.inner, self.clock, told, self._mirror, self.stop)
        self.b = Bench(
            self.directory / "images",
            self.directory / "state",
            store,
            clock=self.clock,
            told=told,
            watch=WatchConfig(settle_seconds=self.settle_seconds),
            batch=BatchConfig(size=3, max_wait_seconds=0.0),
            limits=LimitsConfig(delete_hold_minutes=30),
        )
        self.b.folder.mkdir()
        self.b.state.mkdir()

    def _mirror(self) -> Mirror | None:
        return self.b.mirror

    @initialize(seeds=st.lists(SEEDS, max_size=4))
    def begin(self, seeds: list[int]) -> None:
        for number, seed in enumerate(seeds):
            put(self.b.folder, NAMES[number % len(NAMES)], picture(seed))
        self.b.start()

    # -- the folder ------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        return self.b.folder / name

    def tell(self, told: bool, *names: str) -> None:
        if told and self.b.mirror is not None:
            self.b.touch(*names)

    @rule(name=PATHS, seed=SEEDS, told=TOLD)
    def create_or_overwrite(self, name: str, seed: int, told: bool) -> None:
        if not self.path(name).is_dir():
            put(self.b.folder, name, picture(seed))
            self.tell(told, name)

    @rule(name=PATHS, seed=SEEDS, told=TOLD)
    def overwrite_with_the_same_size_and_times(self, name: str, seed: int, told: bool) -> None:
        path = self.path(name)
        if path.is_dir():
            return
        before = path.stat() if path.exists() else None
        put(self.b.folder, name, padded_picture(seed))
        if before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.tell(told, name)

    @rule(name=PATHS, told=TOLD)
    def make_bad(self, name: str, told: bool) -> None:
        if not self.path(name).is_dir():
            put(self.b.folder, name, b"\x89PNG this is none")
            self.tell(told, name)

    @rule(name=PATHS, told=TOLD)
    def touch_times(self, name: str, told: bool) -> None:
        if self.path(name).exists():
            os.utime(self.path(name))
            self.tell(told, name)

    @rule(source=PATHS, to=PATHS, told=TOLD)
    def rename(self, source: str, to: str, told: bool) -> None:
        if self.path(source).is_file() and not self.path(to).is_dir():
            self.path(to).parent.mkdir(parents=True, exist_ok=True)
            self.path(source).rename(self.path(to))
            self.tell(told, source, to)

    @rule(source=PATHS, to=PATHS, told=TOLD, link=st.booleans())
    def copy_or_link(self, source: str, to: str, told: bool, link: bool) -> None:
        if self.path(source).is_file() and not self.path(to).exists():
            self.path(to).parent.mkdir(parents=True, exist_ok=True)
            if link:
                os.link(self.path(source), self.path(to))
            else:
                shutil.copy2(self.path(source), self.path(to))
            self.tell(told, to)

    @rule(name=PATHS, told=TOLD)
    def delete(self, name: str, told: bool) -> None:
        if not self.path(name).is_dir():
            self.path(name).unlink(missing_ok=True)
            self.tell(told, name)

    @rule(told=TOLD)
    def move_a_tree(self, told: bool) -> None:
        one, two = self.b.folder / "a", self.b.folder / "moved"
        if not one.exists():
            one, two = two, one
        if one.exists() and not two.exists():
            one.rename(two)
            if told and self.b.mirror is not None:
                self.b.touch_tree("a")
                self.b.touch_tree("moved")

    @rule(told=TOLD, directory=st.sampled_from(("a", "c", "moved")))
    def delete_a_tree(self, told: bool, directory: str) -> None:
        shutil.rmtree(self.b.folder / directory, ignore_errors=True)
        if told and self.b.mirror is not None:
            self.b.touch_tree(directory)

    @rule()
    def put_a_directory_or_a_pipe_in_the_way(self) -> None:
        path = self.path("c/two.png")
        if path.is_dir():
            path.rmdir()
        elif not path.exists():
            path.mkdir(parents=True)
        pipe = self.path("pipe.png")
        if pipe.exists():
            pipe.unlink()
        else:
            os.mkfifo(pipe)

    @rule()
    def replace_the_folder_for_a_moment(self) -> None:
        away = self.directory / "away"
        self.b.folder.rename(away)
        self.b.folder.mkdir()
        self.some_steps(3)
        self.b.folder.rmdir()
        away.rename(self.b.folder)

    @rule(
        news=st.lists(PATHS, max_size=12, unique=True),
        minutes=st.integers(0, 14),
        hours_set=st.sampled_from((0, 5, -5)),
        then=st.sampled_from(("goes on", "restarts", "is killed")),
    )
    def another_disk_is_in_its_place(self, news: list[str], minutes: int, hours_set: int, then: str) -> None:
        """For less than the hold time: what was only away keeps its points, whatever files the other one has."""
        self.quiet_is_exact()
        before, away = self.b.paths(), self.directory / "away"
        self.b.folder.rename(away)
        self.b.folder.mkdir()
        for number, name in enumerate(news):
            put(self.b.folder, f"other/{name}", picture(100 + number))
        for _ in range(2):
            self.b.look()
            self.clock.jump(minutes * 60 + 3)  # a replaced folder is tried again
            self.clock.set_forward(hours_set * HOUR)
            self.some_steps(2)
            if then != "goes on":
                (self.restart if then == "restarts" else self.killed)()
        self.b.look()
        assert before <= self.b.paths(), before - self.b.paths()
        shutil.rmtree(self.b.folder)
        away.rename(self.b.folder)

    # -- the collection -----------------------------------------------------------------------------------------

    @rule(name=PATHS, folder=st.sampled_from(("images", "other")))
    def somebody_adds_a_point(self, name: str, folder: str) -> None:
        theirs = store_on(self.engine.socket_path, store_config(collection=self.collection))
        with contextlib.closing(theirs), contextlib.suppress(CollectionMissing):
            theirs.upsert([sample_point(os.fsencode(name), folder=folder)])

    @precondition(lambda self: self.faulty)
    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 4), after=st.integers(0, 3), only_writes=st.booleans())
    def the_store_fails(self, fault: Any, times: int, after: int, only_writes: bool) -> None:
        assert self.proxy is not None
        self.proxy.fail(fault, times=times, after=after, when=writes if only_writes else lambda _: True)

    @precondition(lambda self: self.faulty)
    @rule()
    def the_store_goes_and_comes_back(self) -> None:
        assert self.proxy is not None
        self.proxy.go_down()
        self.some_steps(5)
        self.proxy.come_up()

    @rule()
    def the_collection_is_dropped(self) -> None:
        drop_collection(self.engine.socket_path, self.collection)

    # -- the program ------------------------------------------------------------------------------------------------

    @rule(number=st.integers(1, 30))
    def some_steps(self, number: int) -> None:
        mirror = self.b.now
        for _ in range(number):
            mirror.inbox.wake.clear()
            wait = mirror.step()
            if wait > 0 and (mirror.pipeline.in_flight or mirror.writer.queued):
                mirror.inbox.wake.wait(0.002)

    @rule()
    def restart(self) -> None:
        self.b.stop()
        self.b.start()

    @rule()
    def killed(self) -> None:
        self.b.die()
        self.b.start()

    @rule()
    def killed_and_the_notebook_lost(self) -> None:
        self.b.die()
        for file in self.b.state.glob("notebook*"):
            file.unlink()
        self.b.start()

    @rule(minutes=st.integers(0, 200))
    def time_passes(self, minutes: int) -> None:
        self.clock.jump(minutes * 60)

    @rule(hours=st.integers(-48, 48))
    def somebody_sets_the_clock(self, hours: int) -> None:
        self.clock.set_forward(hours * HOUR)

    @rule()
    def the_machine_boots(self) -> None:
        self.b.die()
        self.clock.reboot()
        self.b.start()

    @rule()
    def a_person_confirms(self) -> None:
        self.b.now.confirm()

    @rule(directory=st.sampled_from(("a", "c", "moved")))
    def a_person_confirms_while_more_goes(self, directory: str) -> None:
        self.b.now.confirm()
        self.some_steps(1)
        shutil.rmtree(self.b.folder / directory, ignore_errors=True)
        self.some_steps(3)

    @rule(extensions=st.sampled_from((("jpg", "jpeg", "png"), ("png", "jpg"))), minutes=st.sampled_from((0, 60)))
    def the_settings_are_read_again(self, extensions: tuple[str, ...], minutes: int) -> None:
        self.b.reload(extensions=extensions, rescan_minutes=minutes)

    @rule()
    def nothing_more_happens(self) -> None:
        self.quiet_is_exact()

    # -- the invariant ----------------------------------------------------------------------------------------------

    def quiet_is_exact(self) -> None:
        """The faults end, hold times pass: what the collection holds then is what the folder holds."""
        if self.proxy is not None:
            self.proxy.heal()
        mirror, folder = self.b.now, self.b.one
        self.clock.jump(5)  # a replaced folder is tried again
        mirror.ask_looks("test")
        deadline = time.monotonic() + 30
        while True:
            run_until(mirror, self.clock, lambda: mirror.quiet)
            if not folder.available or folder.deletes.hold is not None:
                self.clock.jump(31 * 60)
            elif not self.put_aside():
                break
            else:
                self.clock.jump(2 * HOUR)  # files that were in hand at two deaths
            assert time.monotonic() < deadline, state_of(mirror)
        self.b.assert_exact()

    def put_aside(self) -> bool:
        return any(item.reason == "crashed" for item in self.b.one.rejected.values())

    def teardown(self) -> None:
        try:
            if self.b.mirror is not None and os.path.isdir(self.b.folder):
                self.quiet_is_exact()
        finally:
            self.stop.set()
            if self.b.mirror is not None:
                self.b.stop()
            self.inner.close()
            if self.proxy is not None:
                self.proxy.close()
            drop_collection(self.engine.socket_path, self.collection)
            shutil.rmtree(self.directory, ignore_errors=True)


class FaultyMirrorMachine(MirrorMachine):
    """The same behind a store that fails on command."""

    faulty = True


class SettlingMirrorMachine(MirrorMachine):
    """The same with a settle time, so that files change while they wait."""

    settle_seconds = 0.5


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("machine", "examples"), [(MirrorMachine, 35), (FaultyMirrorMachine, 50), (SettlingMirrorMachine, 15)]
)
def test_once_quiet_the_collection_is_the_folder(machine: type[MirrorMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=_settings(examples, 20))


@pytest.mark.soak
@pytest.mark.parametrize("machine", [MirrorMachine, FaultyMirrorMachine, SettlingMirrorMachine])
def test_once_quiet_the_collection_is_the_folder_for_hours(machine: type[MirrorMachine]) -> None:
    """CLIPWATCH_SOAK_EXAMPLES (2000 of each kind) sets how long."""
    examples = int(os.environ.get("CLIPWATCH_SOAK_EXAMPLES", "2000"))
    run_state_machine_as_test(machine, settings=_settings(examples, 60))
