"""Whatever numbers the kernel gives for a file, it is compared, stored, and found unchanged."""

from __future__ import annotations

import json
import os
from itertools import starmap
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clipwatch.config import WatchConfig
from clipwatch.folder.beneath import is_regular
from clipwatch.folder.files import Files
from clipwatch.folder.rules import FileRules
from clipwatch.folder.scan import look
from clipwatch.folder.settle import Settling
from clipwatch.mirror.ledger import Ledger
from clipwatch.payload import ledger_row, refreshed_payload
from clipwatch.records import Signature, file_stat, point_uuid, wrapped
from support.folders import opened_root
from support.small_disk import small_disk

INT64 = (-(2**63), 2**63 - 1)
NANOSECONDS = st.builds(
    lambda seconds, part: seconds * 10**9 + part,
    st.one_of(st.integers(*INT64), st.integers(-(2**34), 2**34)),
    st.integers(0, 10**9 - 1),
)
"""What `stat` may say of a time: 64 bits of seconds, and a part of one; half of them nearer to our century."""
SIZES = st.integers(0, 2**63 - 1)


def stat_result(size: int, mtime_ns: int, ctime_ns: int) -> os.stat_result:
    whole = [0o100644, 11, 1, 1, 0, 0, size, 0, mtime_ns // 10**9, ctime_ns // 10**9]
    return os.stat_result(whole, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})


STATS = st.builds(stat_result, SIZES, NANOSECONDS, NANOSECONDS)


@given(st.lists(STATS, min_size=1, max_size=5))
def test_a_file_is_equal_to_its_own_point_whatever_its_numbers(statuses: list[os.stat_result]) -> None:
    listed = Files()
    for number, status in enumerate(statuses):
        assert is_regular(status)
        listed.add(b"%d.jpg" % number, status)
    rows = []
    for path, stat in listed:
        payload = json.loads(json.dumps(refreshed_payload(stat.signature)))
        assert all(INT64[0] <= payload[key] <= INT64[1] for key in ("size", "mtime_ns", "ctime_ns"))
        rows.append(ledger_row(point_uuid("images", path).hex(), {**payload, "content": "sha256:00", "model": "m"}))
    loaded, told = Ledger("images", "m"), Ledger("images", "m")
    loaded.load([rows])
    for row in rows:
        told.put(row)
    for ledger in (loaded, told):
        assert ledger.compare(listed).differing == []
    assert listed.signatures().dtype == np.int64
    assert list(starmap(Signature, listed.signatures().tolist())) == [stat.signature for _, stat in listed]


@given(STATS)
def test_a_stat_is_the_same_by_every_way(status: os.stat_result) -> None:
    listed = Files()
    listed.add(b"a.jpg", status)
    stat = file_stat(status)
    assert listed[0] == (b"a.jpg", stat)
    assert Files([(b"a.jpg", stat)])[0] == (b"a.jpg", stat)
    assert Signature.unpack(stat.signature.pack()) == stat.signature
    settling = Settling(1.0)
    settling.observe(b"a.jpg", stat.signature, 0.0)
    assert settling.signature(b"a.jpg") == stat.signature


@given(SIZES, NANOSECONDS, st.integers(1, 2**64 - 1))
def test_a_changed_time_is_seen_far_beyond_what_64_bits_hold(size: int, mtime_ns: int, later: int) -> None:
    assert Signature.of(size, mtime_ns, 0) != Signature.of(size, mtime_ns + later, 0)


@given(st.integers(*INT64))
def test_what_fits_is_kept_as_it_is(number: int) -> None:
    assert wrapped(number) == number


def test_real_files_of_other_centuries_are_listed_and_looked_at_alike(tmp_path: Path) -> None:
    with small_disk(tmp_path / "images", 1) as folder:
        for seconds in (10413792000, -14831769600, 2**63 - 1, -(2**63)):
            file = folder / f"{seconds}.jpg"
            file.write_bytes(b"x")
            os.utime(file, ns=(0, seconds * 10**9))
            assert file.stat().st_mtime_ns == seconds * 10**9
        root = opened_root(folder)
        listed = Files()
        for entry in os.scandir(folder):
            listed.add(os.fsencode(entry.name), entry.stat())
        rules = FileRules.from_config(WatchConfig())
        for path, stat in listed:
            assert look(root, rules, path, False) == stat
        root.close()
