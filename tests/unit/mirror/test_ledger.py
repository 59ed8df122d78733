"""The belief about a folder against a plain dictionary."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipwatch.folder.files import Files
from clipwatch.mirror import ledger as ledger_module
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.records import FileStat, LedgerRow, Signature, point_uuid

MODELS = ("present", "old", "older")
PATHS = tuple(f"{n}.png".encode() for n in range(40))
CONTENTS = (
    *(f"sha256:{n:02x}{'0' * 62}" for n in range(1, 6)),
    *(f"sha256:{n:016x}{'7' * 48}" for n in range(9, 13)),
    "odd",
)
SIGNATURES = st.builds(Signature, st.integers(0, 3), st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5))
ROWS = st.builds(
    lambda path, signature, content, model: LedgerRow(point_uuid("images", path), signature, content, model),
    st.sampled_from(PATHS),
    SIGNATURES,
    st.sampled_from(CONTENTS),
    st.sampled_from(MODELS),
)
DEEDS = st.lists(
    st.one_of(ROWS, st.sampled_from(PATHS).map(lambda p: point_uuid("images", p)), st.just("index")), max_size=60
)


@pytest.fixture(autouse=True)
def _merge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows already take the way of thousands."""
    monkeypatch.setattr(ledger_module, "_MERGE_AT_LEAST", 5)


def by_id(rows: list[LedgerRow]) -> dict[bytes, LedgerRow]:
    return {row.id: row for row in rows}


@settings(max_examples=150, deadline=None)
@given(loaded=st.lists(ROWS, max_size=30), deeds=DEEDS, there=st.lists(st.sampled_from(PATHS), unique=True))
def test_a_ledger_is_a_dictionary(loaded: list[LedgerRow], deeds: list[object], there: list[bytes]) -> None:
    model = by_id(loaded)
    ledger = Ledger("images", "present")
    rows = list(model.values())
    ledger.load(rows[start : start + 7] for start in range(0, len(rows), 7))
    for deed in deeds:
        if isinstance(deed, LedgerRow):
            ledger.put(deed)
            model[deed.id] = deed
        elif isinstance(deed, bytes):
            ledger.remove(deed)
            model.pop(deed, None)
        else:
            ledger.content_points([content_key(CONTENTS[0])])

    assert len(ledger) == len(model)
    for path in PATHS:
        row, known = model.get(point_uuid("images", path)), ledger.get(point_uuid("images", path))
        assert (known is None) == (row is None)
        if row is not None and known is not None:
            assert known.signature == row.signature.pack()
            assert known.content == content_key(row.content)
            assert (known.model == 0) == (row.model == "present")
    expected = [sum(row.model == "present" and row.content == c for row in model.values()) for c in CONTENTS]
    assert ledger.content_points([content_key(c) for c in CONTENTS]) == expected

    ledger.begin_look()
    files = [(path, FileStat(Signature(1, 5, 0), 1, 1)) for path in there]
    differing: set[bytes] = set()
    for start in range(0, len(files), 3):
        part = files[start : start + 3]
        comparison = ledger.compare(Files(part))
        assert comparison.ids == [point_uuid("images", path) for path, _ in part]
        differing |= {comparison.ids[index] for index in comparison.differing}
    same = {key for key, row in model.items() if row.model == "present" and row.signature == Signature(1, 5, 0)}
    met = {point_uuid("images", path) for path in there}
    assert differing == met - same
    assert set(ledger.unseen()) == model.keys() - met


def test_ids_that_end_in_zero_bytes_are_told_apart() -> None:
    ids = [uuid.UUID(int=0xAB << 120 | 0x50 << 72 | n).bytes for n in (0, 1 << 8, 1 << 16)]
    row = LedgerRow(ids[0], Signature(1, 2, 3), "sha256:" + "ab" * 32, "present")
    for early in (ids, ids[:1]):
        ledger = Ledger("images", "present")
        ledger.load([[LedgerRow(key, row.signature, row.content, row.model) for key in early]])
        for key in set(ids) - set(early):
            ledger.put(LedgerRow(key, row.signature, row.content, row.model))
        ledger.remove(ids[1])
        assert [ledger.get(key) is not None for key in ids] == [True, False, True]
        ledger.begin_look()
        assert sorted(ledger.unseen()) == sorted([ids[0], ids[2]])


def test_what_was_seen_stays_seen_when_recent_changes_are_merged() -> None:
    ledger = Ledger("images", "present")
    stat = FileStat(Signature(1, 1, 1), 1, 1)

    def row(path: bytes) -> LedgerRow:
        return LedgerRow(point_uuid("images", path), stat.signature, "sha256:" + "cd" * 32, "present")

    ledger.load([[row(path) for path in PATHS[:10]]])
    ledger.begin_look()
    ledger.compare(Files((path, stat) for path in PATHS[:5]))
    for path in itertools.chain(PATHS[10:20], PATHS[:3]):
        ledger.put(row(path))
    assert set(ledger.unseen()) == {point_uuid("images", path) for path in PATHS[5:10]}


def test_a_payload_that_is_not_ours_never_equals_a_file() -> None:
    ledger = Ledger("images", "present")
    ledger.load([[LedgerRow(point_uuid("images", b"a.png"), Signature(0, 0, 0), "", "")]])
    ledger.begin_look()
    assert ledger.compare(Files([(b"a.png", FileStat(Signature(0, 0, 0), 1, 1))])).differing == [0]


class CollidingLedger(Ledger):
    """Paths are ids, so that they can begin alike: finding such names takes 2^32 attempts, not one test."""

    def ids(self, paths: Sequence[bytes]) -> list[bytes]:
        return list(paths)


def test_ids_that_begin_alike_are_told_apart() -> None:
    ids = [b"begin..." + end.to_bytes(8, "big") for end in (1, 5, 9, 13)]
    stat = FileStat(Signature(1, 2, 3), 1, 1)
    ledger = CollidingLedger("images", "present")
    ledger.load([[LedgerRow(point, stat.signature, "sha256:" + "ab" * 32, "present") for point in ids[:3]]])
    ledger.begin_look()
    comparison = ledger.compare(Files((point, stat) for point in (ids[3], ids[2], ids[0])))
    assert comparison.differing == [0]
    assert ledger.unseen() == [ids[1]]
