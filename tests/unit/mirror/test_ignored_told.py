"""What has no point because it is no picture that can be decoded: told by type, and not one by one."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from clipwatch.config import WatchConfig
from clipwatch.folder.ignored import BY_PATTERN, MOST_TYPES, OTHER, add_types, most_common, sentence, telling
from clipwatch.mirror.notebook import read_rejections
from clipwatch.mirror.verify import verify
from clipwatch.service.metrics import families
from clipwatch.service.status import describe_mirror
from support.mirrors import Bench, picture, put, shared_decoder, tiny_encoder
from support.pictures import small_jpeg


def webp(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (8, 8), bytes([seed]) * 192).save(buffer, "WEBP")
    return buffer.getvalue()


def heic(seed: int) -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes([seed]) * 500


def put_all(b: Bench) -> None:
    for seed in range(8):
        put(b.folder, f"{seed}.webp", webp(seed))
    for seed in range(4):
        put(b.folder, f"{seed}.HEIC", heic(seed))
    put(b.folder, "clip.mov", b"x")
    put(b.folder, ".hidden.jpg", b"x")
    put(b.folder, "a.png", picture(1))
    put(b.folder, "jpeg.heic", small_jpeg())


ALL = {"webp": 8, "heic": 4, "mov": 1, BY_PATTERN: 1}
TOLD = "14 ignored: 8 webp, 4 heic (not in a format that can be decoded here); 1 by pattern, 1 mov"


def verified(b: Bench) -> dict[str, Any]:
    decoder = shared_decoder(tiny_encoder().preprocessing)
    decoder.known = lambda _: False
    return verify(
        [replace(b.watch, path=str(b.folder))],
        store=b.store,
        encoder=tiny_encoder(),
        decoder=decoder,
        file_bytes=1_000_000,
        rejections=partial(read_rejections, b.state / "notebook.sqlite", limits="limits"),
        mounts=lambda _: set(),
        deep=False,
    )


def test_sync_tells_pictures_of_other_formats_as_ignored_by_type(b: Bench) -> None:
    put_all(b)
    result = b.sync()
    assert (result["images"], result["embedded"], result["rejected"], result["undone"]) == (2, 2, 0, [])
    assert (result["ignored"], result["ignored_by_type"]) == (14, ALL)
    assert result["undecodable"] == {"webp": 8, "heic": 4}
    assert sentence(result) == TOLD
    b.assert_exact()


def test_the_log_tells_one_file_of_each_format(b: Bench) -> None:
    put_all(b)
    b.sync()
    assert b.told.events("image.rejected") == []
    told = b.told.events("format.unsupported")
    assert sorted(event["format"] for event in told) == ["heic", "webp"]
    b.sync()
    (finished,) = b.told.events("scan.finished")[1:]
    assert finished["ignored_by_type"] == ALL
    assert (finished["images"], finished["rejected"]) == (2, 0)


def test_a_restart_and_a_scan_read_none_of_them_again(b: Bench) -> None:
    put_all(b)
    b.sync()
    submitted = shared_decoder(tiny_encoder().preprocessing).submitted
    result = b.sync()
    assert shared_decoder(tiny_encoder().preprocessing).submitted == submitted
    assert (result["ignored"], result["ignored_by_type"], result["images"]) == (14, ALL, 2)


def test_status_and_metrics_tell_them(b: Bench) -> None:
    put_all(b)
    b.start()
    b.quiet()
    status = describe_mirror(b.now, {}, now=0.0)
    assert status["ignored_by_type"] == status["watch"][0]["ignored_by_type"] == ALL
    assert (status["images"], status["rejected"], status["rejected_by_reason"]) == (2, 0, {})
    store = {**status["store"], "retries": 0, "unavailable_seconds": 0.0}
    samples = {
        sample.labels["type"]: sample.value
        for family in families({**status, "store": store, "stuck": [], "model": {}})
        if family.name == "clipwatch_ignored"
        for sample in family.samples
    }
    assert samples == ALL


def test_verify_tells_them_and_is_exact(b: Bench) -> None:
    put_all(b)
    b.sync()
    result = verified(b)
    assert result["exact"]
    assert result["rejected"] == []
    assert (result["ignored_by_type"], sentence(result)) == (ALL, TOLD)


def test_a_file_is_what_is_in_it_now(b: Bench) -> None:
    put(b.folder, "a.webp", webp(1))
    put(b.folder, "b.png", picture(1))
    b.start()
    b.quiet()
    assert (b.paths(), dict(b.one.undecodable)) == ({b"b.png"}, {"webp": 1})
    put(b.folder, "a.webp", small_jpeg())
    b.touch("a.webp")
    b.quiet()
    b.assert_exact()
    assert (b.paths(), dict(b.one.undecodable)) == ({b"a.webp", b"b.png"}, {})
    put(b.folder, "a.webp", heic(2))
    b.touch("a.webp")
    b.quiet()
    b.assert_exact()
    assert (b.paths(), dict(b.one.undecodable)) == ({b"b.png"}, {"heic": 1})
    assert verified(b)["exact"]
    (b.folder / "a.webp").unlink()
    b.touch("a.webp")
    b.quiet()
    assert b.one.ignored == {}


def test_a_name_that_promises_jpeg_or_png_is_rejected_where_its_content_is_another(b: Bench) -> None:
    put(b.folder, "a.jpg", webp(1))
    put(b.folder, "b.png", heic(1))
    put(b.folder, "c.webp", b"no picture at all")
    result = b.sync()
    assert (result["images"], result["rejected"], result["ignored"]) == (3, 3, 0)
    assert {event["reason"] for event in b.told.events("image.rejected")} == {"unsupported"}
    assert {entry["path"] for entry in verified(b)["rejected"]} == {"a.jpg", "b.png", "c.webp"}


def test_what_the_extensions_leave_out_is_told_by_name(b: Bench) -> None:
    put_all(b)
    b.watch = WatchConfig(settle_seconds=0.0, extensions=("png",))
    result = b.sync()
    assert result["ignored_by_type"] == {"webp": 8, "heic": 5, "mov": 1, BY_PATTERN: 1}
    assert result["undecodable"] == {}
    assert sentence(result) == "15 ignored: 8 webp, 5 heic, 1 by pattern, 1 mov"


def test_a_large_picture_of_another_format_is_not_read_to_its_end(b: Bench) -> None:
    """A hole of 900 MB: reading and hashing it would take seconds, and beyond a decoder's memory."""
    b.limits = replace(b.limits, file_megabytes=4000)
    put(b.folder, "a.heic", heic(1))
    os.truncate(b.folder / "a.heic", 200_000_000)
    result = b.sync()
    assert result["undecodable"] == {"heic": 1}


def test_however_many_types_there_are_few_are_told() -> None:
    types: dict[str, int] = {}
    for number in range(5000):
        add_types(types, {f"x{number}": 1})
    add_types(types, {"heic": 7})
    told = most_common(types)
    assert len(types) <= 50 * MOST_TYPES + 1
    assert len(told) <= MOST_TYPES + 1
    assert told[OTHER] + sum(number for name, number in told.items() if name != OTHER) == 5007


def test_the_sentence_names_the_commonest_types() -> None:
    assert sentence(telling({}, {})) == ""
    assert sentence(telling({"webp": 800, "heic": 474}, {})) == "1,274 ignored: 800 webp, 474 heic"
    many = {f"t{number}": number for number in range(1, 8)}
    assert sentence(telling(many, {})) == "28 ignored: 7 t7, 6 t6, 5 t5, 4 t4, 3 t3, 3 of other types"
