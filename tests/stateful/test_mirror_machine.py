"""Any change, any fault, any restart, in any order: once quiet, the collection is the folder.

A failure prints its seed and a blob: `pytest tests/stateful --hypothesis-seed=SEED` or the printed
`@reproduce_failure` replays it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from clipwatch.config import BatchConfig, LimitsConfig, WatchConfig
from clipwatch.errors import CollectionMissing
from clipwatch.mirror.mirror import Mirror
from clipwatch.store.contract import Store
from support.faulty_proxy import Answer, CutAnswer, FaultyProxy, LoseAnswer, Reset, refusal, too_many, writes
from support.mirrors import FOLDER, HOUR, Bench, FakeClock, padded_picture, picture, put, retrying, run_until, state_of
from support.privileges import bound_by_permissions, may_read
from support.stores import (
    Told,
    drop_collection,
    fresh_collection,
    mortal_engine,
    sample_point,
    shared_engine,
    store_config,
    store_on,
)

DIRECTORIES = ("", "a/", "a/b/", "c/")
NAMES = ("one.png", "two.png", "three.jpg", "caf\udce9.png", "line\nbreak.png", "UP.PNG")
SECOND = "second"


class At(NamedTuple):
    """A path in one of the two watched folders."""

    folder: str
    name: str


PATHS = st.builds(str.__add__, st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
PLACES = st.builds(At, st.sampled_from((FOLDER, FOLDER, FOLDER, SECOND)), PATHS)
SEEDS = st.integers(0, 7)
FAULTS = (Reset(), LoseAnswer(), CutAnswer(), Answer(500), refusal(503, "no"), too_many("1"), Answer(200, b"?"))
TOLD = st.booleans()
"""Whether a watcher notices; what none did is found by the next look."""


class MirrorMachine(RuleBasedStateMachine):
    """A folder, whatever may happen to it, and a mirror that comes, goes and keeps up."""

    faulty = False
    mortal = False
    settle_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        # Memory, where there is such a file system: thousands of small files are written.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="mirror-machine-", dir=memory))
        self.clock, told = FakeClock(), Told()
        config = store_config(collection=fresh_collection())
        self.collection, self.engine = config.collection, mortal_engine() if self.mortal else shared_engine()
        self.stop = threading.Event()
        self.proxy: FaultyProxy | None = None
        socket = self.engine.socket_path
        if self.faulty:
            socket = self.directory / "p.sock"
            self.proxy = FaultyProxy(self.engine.socket_path, socket=socket)
        self.inner = store_on(socket, config, revive=self.engine.ensure_running if self.mortal else None)
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
            more={SECOND: self.directory / SECOND},
        )
        for directory in (self.b.folder, self.b.state, *self.b.more.values()):
            directory.mkdir()

    def _mirror(self) -> Mirror | None:
        return self.b.mirror

    @initialize(seeds=st.lists(SEEDS, max_size=4))
    def begin(self, seeds: list[int]) -> None:
        for number, seed in enumerate(seeds):
            put(self.b.folder, NAMES[number % len(NAMES)], picture(seed))
        self.b.start()

    # -- the folder ------------------------------------------------------------------------------------------

    def path(self, at: At) -> Path:
        return (self.b.folder if at.folder == FOLDER else self.b.more[at.folder]) / at.name

    def write(self, at: At, data: bytes) -> None:
        put(self.path(at._replace(name=".")), at.name, data)

    def tell(self, told: bool, *places: At) -> None:
        """As a live watch does, which tells deletes from other changes."""
        if told and self.b.mirror is not None:
            for at in places:
                removed = not os.path.lexists(self.path(at))
                self.b.now.inbox.post(at.folder, os.fsencode(at.name), removed=removed)

    @rule(at=PLACES, seed=SEEDS, told=TOLD)
    def create_or_overwrite(self, at: At, seed: int, told: bool) -> None:
        if not self.path(at).is_dir():
            self.path(at).unlink(missing_ok=True)
            self.write(at, picture(seed))
            self.tell(told, at)

    @rule(at=PLACES, seed=SEEDS, told=TOLD)
    def overwrite_with_the_same_size_and_times(self, at: At, seed: int, told: bool) -> None:
        path = self.path(at)
        if path.is_dir() or path.is_symlink():
            return
        before = path.stat() if path.exists() else None
        self.write(at, padded_picture(seed))
        if before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.tell(told, at)

    @rule(at=PLACES, told=TOLD)
    def make_bad(self, at: At, told: bool) -> None:
        if not self.path(at).is_dir():
            self.path(at).unlink(missing_ok=True)
            self.write(at, b"\x89PNG this is none")
            self.tell(told, at)

    @rule(at=PLACES, told=TOLD)
    def touch_times(self, at: At, told: bool) -> None:
        if self.path(at).is_file():
            os.utime(self.path(at))
            self.tell(told, at)

    @rule(source=PLACES, to=PLACES, told=TOLD)
    def rename(self, source: At, to: At, told: bool) -> None:
        """Also from one folder to the other."""
        if self.path(source).is_file() and not self.path(to).is_dir():
            self.path(to).parent.mkdir(parents=True, exist_ok=True)
            self.path(source).rename(self.path(to))
            self.tell(told, source, to)

    @rule(source=PLACES, to=PLACES, told=TOLD, link=st.booleans())
    def copy_or_link(self, source: At, to: At, told: bool, link: bool) -> None:
        if self.path(source).is_file() and not os.path.lexists(self.path(to)):
            self.path(to).parent.mkdir(parents=True, exist_ok=True)
            if link:
                os.link(self.path(source), self.path(to))
            else:
                shutil.copy2(self.path(source), self.path(to))
            self.tell(told, to)

    @rule(at=PLACES, told=TOLD, to=st.sampled_from(("one.png", "a", ".", "../second", "nowhere")))
    def a_symbolic_link_takes_its_place(self, at: At, told: bool, to: str) -> None:
        """None is followed here: to a picture, to a tree, to what lies above it, out of the folder, to nothing."""
        path = self.path(at)
        if not path.is_dir() or path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.b.folder / to)
            self.tell(told, at)

    @rule(at=PLACES, told=TOLD)
    def delete(self, at: At, told: bool) -> None:
        if not self.path(at).is_dir() or self.path(at).is_symlink():
            self.path(at).unlink(missing_ok=True)
            self.tell(told, at)

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
        path = self.b.folder / "c" / "two.png"
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif not os.path.lexists(path):
            path.mkdir(parents=True)
        pipe = self.b.folder / "pipe.png"
        if pipe.exists():
            pipe.unlink()
        else:
            os.mkfifo(pipe)

    @rule(folder=st.sampled_from((FOLDER, SECOND)))
    def replace_a_folder_for_a_moment(self, folder: str) -> None:
        path, away = self.path(At(folder, ".")), self.directory / "away"
        path.rename(away)
        path.mkdir()
        self.some_steps(3)
        path.rmdir()
        away.rename(path)

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

    @rule(
        directory=st.sampled_from(("", "a", "a/b", "c", "moved")),
        mode=st.sampled_from((0o000, 0o444, 0o111)),
        minutes=st.integers(0, 100),
        then=st.sampled_from(("goes on", "restarts", "is killed")),
    )
    def a_directory_cannot_be_read(self, directory: str, mode: int, minutes: int, then: str) -> None:
        """However long: what nobody can see is not gone. Nothing goes there, or only listing, or only entering."""
        path = self.b.folder / directory
        if path.is_symlink() or not path.is_dir():
            return
        self.quiet_is_exact()
        before = {point for point in self.b.paths() if point.startswith(os.fsencode(directory and directory + "/"))}
        path.chmod(mode)
        with bound_by_permissions():
            assert mode == 0o444 or not may_read(path)
            for _ in range(2):
                self.b.now.ask_looks("test")
                self.some_steps(10)
                self.clock.jump(minutes * 60 + 3)
                if then != "goes on":
                    (self.restart if then == "restarts" else self.killed)()
            self.some_steps(10)
            kept = self.b.paths()
        path.chmod(0o755)
        assert before <= kept, before - kept

    # -- the collection -----------------------------------------------------------------------------------------

    @rule(name=PATHS, folder=st.sampled_from(("images", "other")))
    def somebody_adds_a_point(self, name: str, folder: str) -> None:
        theirs = store_on(self.living_socket(), store_config(collection=self.collection))
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

    @precondition(lambda self: self.mortal)
    @rule(after=st.integers(0, 5))
    def the_engine_is_killed(self, after: int) -> None:
        """Past the next *after* requests: what was acknowledged is there, what was not is done again."""
        assert self.proxy is not None
        left = itertools.count(after, -1)

        def kill(_: object) -> None:
            if next(left) == 0 and self.engine.pid is not None:
                os.kill(self.engine.pid, signal.SIGKILL)

        self.proxy.on_request = kill
        self.some_steps(10)

    @rule()
    def the_collection_is_dropped(self) -> None:
        drop_collection(self.living_socket(), self.collection)

    def living_socket(self) -> Path:
        """Past whatever fails."""
        if self.mortal and self.proxy is not None:
            self.proxy.on_request = None
            self.engine.ensure_running()
        return self.engine.socket_path

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

    @rule(
        extensions=st.sampled_from((("jpg", "jpeg", "png"), ("png", "jpg"))),
        minutes=st.sampled_from((0, 60)),
        most=st.sampled_from((0, 0, 2, 3)),
    )
    def the_settings_are_read_again(self, extensions: tuple[str, ...], minutes: int, most: int) -> None:
        self.b.reload(extensions=extensions, rescan_minutes=minutes, max_images=most)

    @rule()
    def nothing_more_happens(self) -> None:
        self.quiet_is_exact()

    # -- the invariant ----------------------------------------------------------------------------------------------

    def quiet_is_exact(self) -> None:
        """The faults end, hold times pass: what the collection holds then is what the folder holds."""
        if self.proxy is not None:
            self.proxy.heal()
            self.proxy.on_request = None
        mirror = self.b.now
        self.clock.jump(5)  # a replaced folder is tried again
        mirror.ask_looks("test")
        deadline = time.monotonic() + 30
        while True:
            run_until(mirror, self.clock, lambda: mirror.quiet)
            if any(not folder.available or folder.deletes.hold is not None for folder in mirror.folders.values()):
                self.clock.jump(31 * 60)
            elif not self.put_aside():
                break
            else:
                self.clock.jump(2 * 24 * HOUR)  # files that were alone in hand at several deaths
            assert time.monotonic() < deadline, state_of(mirror)
        self.b.assert_exact()

    def put_aside(self) -> bool:
        return any(folder.work.aside for folder in self.b.now.folders.values())

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
            drop_collection(self.living_socket(), self.collection)
            shutil.rmtree(self.directory, ignore_errors=True)


class FaultyMirrorMachine(MirrorMachine):
    """The same behind a store that fails on command."""

    faulty = True


class MortalEngineMachine(MirrorMachine):
    """The same, and now and then the embedded engine is killed."""

    faulty = mortal = True


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
    ("machine", "examples"),
    [(MirrorMachine, 35), (FaultyMirrorMachine, 50), (MortalEngineMachine, 15), (SettlingMirrorMachine, 15)],
)
def test_once_quiet_the_collection_is_the_folder(machine: type[MirrorMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=_settings(examples, 20))


@pytest.mark.soak
@pytest.mark.parametrize("machine", [MirrorMachine, FaultyMirrorMachine, MortalEngineMachine, SettlingMirrorMachine])
def test_once_quiet_the_collection_is_the_folder_for_hours(machine: type[MirrorMachine]) -> None:
    """CLIPWATCH_SOAK_EXAMPLES (2000 of each kind) sets how long."""
    examples = int(os.environ.get("CLIPWATCH_SOAK_EXAMPLES", "2000"))
    run_state_machine_as_test(machine, settings=_settings(examples, 60))
