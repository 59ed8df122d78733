"""A collection is built anew beside the old one, whatever is spoken to and wherever the program dies."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from clipwatch.config import LimitsConfig, ModelConfig, StoreConfig, WatchConfig
from clipwatch.errors import ConfigError, OwnedElsewhere
from clipwatch.mirror.switchover import Switchover
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.load import load_encoder
from clipwatch.store.connect import server_client, socket_client
from clipwatch.store.owners import Owners
from clipwatch.store.qdrant import QdrantStore
from clipwatch.store.rebuild import Rebuild, built_name
from support import onnx_models
from support.grpc_stand_in import GrpcStandIn
from support.mirrors import Bench, FakeClock, assert_exact, fill, picture, put, tiny_encoder
from support.small_disk import bind, unmount
from support.stores import Told, fresh_collection, sample_point, shared_engine, unit

WRITES = frozenset(
    {
        "create_collection",
        "create_payload_index",
        "upsert",
        "delete",
        "delete_collection",
        "update_collection_aliases",
    }
)
PICTURES = 3


class Killed(BaseException):
    """The end of a process."""


class Mortal:
    """A client that dies before, or after, its write number *dies_at*."""

    def __init__(self, client: QdrantClient, dies_at: int = 0, *, after: bool = False) -> None:
        self._client, self._dies_at, self._after = client, dies_at, after
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return functools.partial(self._write, name, call) if name in WRITES else call

    def _write(self, name: str, call: Any, *arguments: Any, **more: Any) -> Any:
        self.writes.append(name)
        if len(self.writes) == self._dies_at and not self._after:
            raise Killed
        answer = call(*arguments, **more)
        if len(self.writes) == self._dies_at:
            raise Killed
        return answer


@functools.cache
def wide_encoder(width: int = 6, seed: int = 7) -> VisionEncoder:
    """Another small model, of another width than `tiny_encoder`."""
    with TemporaryDirectory() as directory:
        tower = onnx_models.vision_tower(width=width, side=56, seed=seed)
        path = onnx_models.save(tower, Path(directory) / "wide.onnx")
        config = ModelConfig(path=str(path), engine="onnxruntime", threads=1)
        return load_encoder(config, batch_size=25, logger=Told(), explicit_path=True)


@dataclass
class Rig:
    """A folder of pictures and one collection name; each `start` is a new process."""

    raw: QdrantClient
    client: Any
    kind: str
    directory: Path
    collection: str = field(default_factory=fresh_collection)
    told: Told = field(default_factory=Told)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    clock: FakeClock = field(default_factory=FakeClock)
    bench: Bench | None = None
    rebuild: Rebuild | None = None

    @property
    def images(self) -> Path:
        return self.directory / "images"

    def start(self, encoder: VisionEncoder, *, asked: bool = False, client: Any = None) -> Bench:
        config = StoreConfig(collection=self.collection, timeout_seconds=5.0)
        store = QdrantStore(client or self.client, config, kind=self.kind, address="here")
        for place in (self.images, self.directory / "state"):
            place.mkdir(exist_ok=True)
        self.rebuild = Rebuild(
            store, folders=lambda: ["images"], asked=asked, fingerprint=lambda: encoder.fingerprint, logger=self.told
        )
        self.bench = Bench(
            self.images, self.directory / "state", store, encoder=encoder, limits=self.limits, clock=self.clock
        )
        self.bench.watch = replace(self.bench.watch, settle_seconds=0.0)
        self.bench.claim = self.owners(self.rebuild.front).claim
        mirror = self.bench.start()
        Switchover(mirror, self.rebuild, patiently=lambda call: call(), logger=self.told)
        return self.bench

    def owners(self, store: QdrantStore, path: str = "images") -> Owners:
        """As a machine sees them that has the folder at *path*."""
        watch = WatchConfig(path=str(self.directory / path))
        return Owners(
            store, state=self.directory / f"state of {path}", watches=lambda: [watch], now=lambda: 1.0, logger=self.told
        )

    def run(self, encoder: VisionEncoder, *, asked: bool = False) -> Bench:
        """One process from start to quiet to its orderly end."""
        bench = self.start(encoder, asked=asked)
        try:
            bench.quiet()
        finally:
            bench.stop()
        return bench

    def names(self) -> set[str]:
        """Of all collections that were made for this one, itself included."""
        return {c.name for c in self.raw.get_collections().collections if c.name.startswith(self.collection)}

    def behind(self) -> str:
        """The collection behind the name."""
        aliases = {item.alias_name: item.collection_name for item in self.raw.get_aliases().aliases}
        return aliases.get(self.collection, self.collection)

    def assert_shown(self, encoder: VisionEncoder) -> None:
        """By its name the collection is exact, of this model, and nothing else is left."""
        config = StoreConfig(collection=self.collection)
        store = QdrantStore(self.client, config, kind=self.kind, address="here")
        assert_exact(self.images, store, encoder=encoder)
        with pytest.raises(OwnedElsewhere):
            self.owners(store, "elsewhere").claim("images")
        assert self.names() == {self.behind()}

    def drop_all(self) -> None:
        for name in self.names():
            self.raw.delete_collection(name)


@pytest.fixture(scope="module", params=["socket", "grpc"])
def clients(request: pytest.FixtureRequest) -> Iterator[tuple[QdrantClient, QdrantClient, str]]:
    """A stock client, the client under test, and the kind of store."""
    with contextlib.closing(socket_client(shared_engine().socket_path, timeout_seconds=10)) as raw:
        if request.param == "socket":
            yield raw, raw, "embedded"
        else:
            with GrpcStandIn(raw) as stand_in:
                url = stand_in.url
                with contextlib.closing(server_client(StoreConfig(url=url), api_key="")) as client:
                    yield raw, client, "server"


@pytest.fixture
def rig(clients: tuple[QdrantClient, QdrantClient, str], tmp_path: Path) -> Iterator[Rig]:
    made = Rig(*clients, tmp_path)
    made.images.mkdir()
    fill(made.images, PICTURES)
    yield made
    if made.bench is not None and made.bench.mirror is not None:
        made.bench.die()
    made.drop_all()


def test_another_width_is_built_beside_and_then_takes_the_name(rig: Rig) -> None:
    rig.run(tiny_encoder())
    bench = rig.run(wide_encoder())
    assert bench.inferences == PICTURES
    rig.assert_shown(wide_encoder())
    assert rig.behind() == built_name(rig.collection, wide_encoder().fingerprint)
    (switched,) = rig.told.events("collection.switched")
    assert "one request" in switched["message"]

    again = rig.run(wide_encoder())
    assert again.inferences == 0
    rig.assert_shown(wide_encoder())


def test_from_then_on_the_alias_moves_in_one_request(rig: Rig) -> None:
    for encoder in (tiny_encoder(), wide_encoder(), tiny_encoder()):
        rig.run(encoder)
        rig.assert_shown(encoder)
    assert "one step" in rig.told.events("collection.switched")[-1]["message"]


def test_the_same_model_is_built_anew_only_where_that_is_asked_for(rig: Rig) -> None:
    for _ in range(4):
        bench = rig.run(tiny_encoder(), asked=True)
        assert bench.inferences == PICTURES
        rig.assert_shown(tiny_encoder())
    bench = rig.run(tiny_encoder())
    assert bench.inferences == 0


def test_another_model_of_the_same_width_stays_in_place(rig: Rig) -> None:
    rig.run(tiny_encoder())
    bench = rig.run(tiny_encoder(seed=1))
    assert bench.inferences == PICTURES
    assert rig.behind() == rig.collection
    rig.assert_shown(tiny_encoder(seed=1))


def test_while_the_folder_is_away_the_old_one_keeps_its_name_and_points(rig: Rig) -> None:
    rig.run(tiny_encoder())
    bench = rig.start(wide_encoder(), client=(mortal := Mortal(rig.client)))
    rig.images.rename(rig.directory / "elsewhere")
    bench.quiet()
    assert rig.behind() == rig.collection
    assert rig.raw.count(rig.collection).count == PICTURES
    assert "delete_collection" not in mortal.writes
    (rig.directory / "elsewhere").rename(rig.images)
    bench.clock.jump(10)
    bench.quiet()
    assert rig.rebuild is not None
    assert not rig.rebuild.under_way
    rig.assert_shown(wide_encoder())


@pytest.mark.parametrize("foreign", ["no payload", "another folder"])
def test_a_collection_with_foreign_points_is_never_replaced(rig: Rig, foreign: str) -> None:
    rig.run(tiny_encoder())
    point = sample_point("x.jpg", folder="theirs")
    payload = {} if foreign == "no payload" else point.payload
    rig.raw.upsert(rig.collection, [models.PointStruct(id=point.id, vector=unit(1).tolist(), payload=payload)])
    for asked in (False, True):
        with pytest.raises(ConfigError, match="1 of its 4 points") as refused:
            rig.run(wide_encoder() if not asked else tiny_encoder(), asked=asked)
        assert "store.collection" in refused.value.hint
        assert ("theirs" in refused.value.message) == (foreign == "another folder")
        assert rig.bench is not None
        assert rig.names() == {rig.collection}
    assert rig.raw.count(rig.collection).count == PICTURES + 1


def test_an_empty_collection_that_somebody_else_made_is_replaced_only_where_that_is_asked_for(rig: Rig) -> None:
    shape = models.VectorParams(size=wide_encoder().width + 1, distance=models.Distance.COSINE)
    rig.raw.create_collection(rig.collection, shape)
    with pytest.raises(ConfigError, match="is empty, 7 wide, and was not made by clipwatch") as refused:
        rig.run(wide_encoder())
    assert "--rebuild" in refused.value.hint
    assert rig.names() == {rig.collection}
    assert rig.raw.get_collection(rig.collection).config.params.vectors == shape
    rig.run(wide_encoder(), asked=True)
    rig.assert_shown(wide_encoder())


def test_an_empty_collection_of_a_first_run_that_was_killed_is_ours(rig: Rig) -> None:
    bench = rig.start(tiny_encoder(), client=Mortal(rig.client, 6))
    with contextlib.suppress(Killed):
        bench.quiet()
    bench.die()
    assert rig.raw.count(rig.collection).count == 0
    rig.run(wide_encoder())
    rig.assert_shown(wide_encoder())


def test_a_foreign_point_that_comes_meanwhile_keeps_the_old_one(rig: Rig) -> None:
    rig.run(tiny_encoder())
    bench = rig.start(wide_encoder())
    mirror = bench.now
    inner = mirror.on_exact

    def late() -> None:
        rig.raw.upsert(rig.collection, [models.PointStruct(id=5, vector=unit(1).tolist(), payload={})])
        inner()

    mirror.on_exact = late
    bench.quiet()
    assert "cannot be replaced" in mirror.doubt
    assert rig.behind() == rig.collection
    rig.raw.delete(rig.collection, models.PointIdsList(points=[5]))
    mirror.on_exact = inner
    bench.look()
    assert not mirror.doubt
    rig.assert_shown(wide_encoder())


def test_an_emptied_folder_does_not_empty_the_collection_by_a_rebuild(rig: Rig) -> None:
    rig.run(tiny_encoder())
    for file in rig.images.iterdir():
        file.unlink()
    bench = rig.start(wide_encoder())
    bench.quiet()
    assert "3 of the 3 points" in bench.now.doubt
    assert rig.raw.count(rig.collection).count == PICTURES
    bench.look()
    assert rig.behind() == rig.collection
    bench.now.confirm()
    bench.quiet()
    rig.assert_shown(wide_encoder())
    assert rig.raw.count(rig.collection).count == 0


def test_a_doubt_ends_when_a_scan_after_the_hold_agrees(rig: Rig) -> None:
    rig.run(tiny_encoder())
    for file in rig.images.iterdir():
        file.unlink()
    bench = rig.start(wide_encoder())
    bench.quiet()
    assert bench.now.doubt
    bench.clock.jump(rig.limits.delete_hold_minutes * 60)
    bench.look()
    assert not bench.now.doubt
    rig.assert_shown(wide_encoder())


def test_sync_from_cron_alone_ends_the_hold_of_a_rebuild(rig: Rig) -> None:
    rig.run(tiny_encoder())
    for file in rig.images.iterdir():
        file.unlink()
    for minutes in (0, 30, 59):
        rig.run(wide_encoder())
        assert rig.behind() == rig.collection, f"after {minutes} minutes"
        rig.clock.jump(30 * 60 if minutes == 0 else 29 * 60)
    rig.clock.jump(2 * 60)
    rig.run(wide_encoder())
    rig.assert_shown(wide_encoder())


def test_confirm_without_a_daemon_vouches_for_no_rebuild_that_was_never_announced(rig: Rig) -> None:
    """Another disk lies in the folder's place; nothing has been said about it yet."""
    rig.run(tiny_encoder())
    for file in rig.images.iterdir():
        file.unlink()
    put(rig.images, "another.png", picture(500))
    bench = rig.start(wide_encoder())
    assert bench.now.confirm() == {}
    bench.quiet()
    assert "3 of the 3 points" in bench.now.doubt
    assert rig.behind() == rig.collection
    bench.stop()
    bench = rig.start(wide_encoder())
    assert bench.now.confirm(), "now it was announced"
    bench.quiet()
    assert not bench.now.doubt
    rig.assert_shown(wide_encoder())


def test_a_disk_that_is_not_mounted_keeps_the_old_collection_however_long(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk", 2, first=50)
    bind(tmp_path / "disk", rig.images / "usb")
    try:
        rig.run(tiny_encoder())
    finally:
        unmount(rig.images / "usb")
    fill(rig.images, 1, first=60, below="usb/")
    bench = rig.start(wide_encoder())
    bench.quiet()
    assert "nothing is mounted at usb of folder images, and 2 points would be lost" in bench.now.doubt
    bench.clock.jump(2 * rig.limits.delete_hold_minutes * 60)
    bench.look()
    assert bench.now.doubt
    assert rig.raw.count(rig.collection).count == PICTURES + 2
    bench.now.confirm()
    bench.quiet()
    assert not bench.now.doubt
    rig.assert_shown(wide_encoder())


def test_renamed_and_rejected_files_are_no_doubt(rig: Rig) -> None:
    rig.run(tiny_encoder())
    first, *others = sorted(rig.images.iterdir())
    first.write_bytes(b"no picture any more")
    for number, file in enumerate(others):
        file.rename(rig.images / f"renamed-{number}.png")
    rig.run(wide_encoder())
    rig.assert_shown(wide_encoder())


def writes_of_a_rebuild(rig: Rig, before: VisionEncoder) -> int:
    """How many writes a whole rebuild takes."""
    rig.run(before)
    bench = rig.start(wide_encoder(), client=(mortal := Mortal(rig.client)))
    bench.quiet()
    bench.stop()
    rig.drop_all()
    return len(mortal.writes)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("aliased", [False, True], ids=["plain", "aliased"])
def test_killed_at_any_write_it_goes_on_where_it_was(rig: Rig, after: bool, aliased: bool) -> None:
    number = writes_of_a_rebuild(rig, tiny_encoder())
    assert number >= 8
    for dies_at in range(1, number + 1):
        rig.run(tiny_encoder())
        if aliased:
            rig.run(wide_encoder(9))
        bench = rig.start(wide_encoder(), client=Mortal(rig.client, dies_at, after=after))
        with contextlib.suppress(Killed):
            bench.quiet()
        bench.die()
        # At every moment something answers under the name, but for one request after the plain one is dropped.
        assert rig.raw.collection_exists(rig.collection) or not aliased
        rig.run(wide_encoder())
        rig.assert_shown(wide_encoder())
        rig.drop_all()


def test_a_change_of_mind_on_the_way_leaves_nothing_behind(rig: Rig) -> None:
    """A rebuild is begun, killed, and another model is taken."""
    rig.run(tiny_encoder())
    bench = rig.start(wide_encoder(), client=Mortal(rig.client, 7))
    with contextlib.suppress(Killed):
        bench.quiet()
    bench.die()
    assert len(rig.names()) == 2
    rig.run(wide_encoder(9))
    rig.assert_shown(wide_encoder(9))


def test_what_a_run_would_find_is_judged_before_and_nothing_is_changed(rig: Rig) -> None:
    def judge(encoder: VisionEncoder) -> str:
        store = QdrantStore(rig.client, StoreConfig(collection=rig.collection), kind=rig.kind, address="here")
        rebuild = Rebuild(
            store, folders=lambda: ["images"], asked=False, fingerprint=lambda: encoder.fingerprint, logger=Told()
        )
        before = rig.names()
        try:
            return rebuild.judge(encoder.width)
        finally:
            assert rig.names() == before

    def other(**changes: Any) -> None:
        plain = models.VectorParams(size=wide_encoder().width, distance=models.Distance.COSINE)
        rig.raw.delete_collection(rig.collection)
        rig.raw.create_collection(rig.collection, plain.model_copy(update=changes))

    assert judge(tiny_encoder()) == "the next run makes it"
    rig.run(tiny_encoder())
    assert judge(tiny_encoder()) == ""
    assert judge(wide_encoder()).startswith("the next run has another built beside it")
    rig.raw.upsert(rig.collection, [models.PointStruct(id=5, vector=unit(1, tiny_encoder().width).tolist())])
    with pytest.raises(ConfigError, match="cannot be replaced"):
        judge(wide_encoder())
    other(size=9)
    with pytest.raises(ConfigError, match="was not made by clipwatch"):
        judge(wide_encoder())
    other(distance=models.Distance.DOT)
    with pytest.raises(ConfigError, match="compares by Dot"):
        judge(wide_encoder())


def test_a_server_that_is_too_old_is_told_before_its_collections(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QdrantStore, "_version", lambda _: "1.9.7")
    store = QdrantStore(rig.client, StoreConfig(collection=rig.collection), kind="server", address="here")
    rebuild = Rebuild(store, folders=list, asked=False, fingerprint=lambda: "f", logger=Told())
    with pytest.raises(ConfigError, match=r"1\.9\.7; 1\.10 is the oldest"):
        rebuild.judge(8)


def test_a_reader_never_creates_or_drops_anything(rig: Rig) -> None:
    rig.run(tiny_encoder())
    store = QdrantStore(rig.client, StoreConfig(collection=rig.collection), kind=rig.kind, address="here")
    rebuild = Rebuild(
        store, folders=lambda: ["images"], asked=False, fingerprint=lambda: wide_encoder().fingerprint, logger=Told()
    )
    rebuild.place(wide_encoder().width, writing=False)
    assert rebuild.shows_old
    assert store.collection == rig.collection
    assert rig.names() == {rig.collection}
