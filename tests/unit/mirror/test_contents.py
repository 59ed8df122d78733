"""Which contents the collection has a vector of, as decode workers' threads are told."""

from __future__ import annotations

import threading

from clipwatch.mirror.contents import ContentIndex
from clipwatch.mirror.ledger import Ledger, content_key
from clipwatch.records import LedgerRow, Signature, point_uuid

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def ledger(folder: str, *contents: str) -> Ledger:
    made = Ledger(folder, "model")
    for number, content in enumerate(contents):
        made.put(LedgerRow(point_uuid(folder, b"%d.png" % number), Signature(1, 2, 3), content, "model"))
    return made


def test_contents_are_counted_over_all_folders_until_one_is_no_longer_known() -> None:
    index = ContentIndex()
    assert index.points([content_key(ONE)]) == [0]
    index.publish("images", ledger("images", ONE, ONE))
    index.publish("more", ledger("more", ONE, TWO))
    assert index.points([content_key(ONE), content_key(TWO)]) == [3, 1]
    index.publish("images", None)
    assert index.points([content_key(ONE)]) == [1]


def test_a_content_whose_vector_is_not_there_is_decoded_until_it_is_written_again() -> None:
    index = ContentIndex()
    index.publish("images", ledger("images", ONE))
    assert index.has(ONE)
    index.is_unusable(ONE)
    assert not index.has(ONE)
    index.is_usable(ONE)
    assert index.has(ONE)


def test_other_threads_may_ask_while_folders_come_and_go() -> None:
    index = ContentIndex()
    index.publish("images", ledger("images", ONE))
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            if not index.has(ONE):
                wrong.append("the folder that stays was not seen")

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    other = ledger("more", TWO)
    for _ in range(2000):
        index.publish("more", other)
        index.publish("more", None)
    stop.set()
    for asker in askers:
        asker.join()
    assert not wrong
