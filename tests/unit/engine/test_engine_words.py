"""The engine's errors have no types; their words are sorted in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipwatch.engine.files import FreeSpace
from clipwatch.engine.replies import Refused, edge_calls


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (
            Exception("Vector dimension error: expected dim: 4, got 3"),
            400,
            "Wrong input: Vector dimension error: expected dim: 4, got 3",
        ),
        (Exception("No point with id 7"), 404, "Not found: No point with id 7 found"),
        (Exception("Service runtime error: disk"), 500, "Service internal error: Service runtime error: disk"),
        (Exception("something new"), 500, "Service internal error: something new"),
        (Exception("No appropriate index for faceting: `f`."), 400, "Bad request: No appropriate index"),
        (ValueError("invalid JSON path a["), 400, "Format error in JSON body: invalid JSON path a["),
        (TypeError("first line\nsecond line"), 400, "Format error in JSON body: first line"),
        (TypeError(), 400, "Format error in JSON body"),
        (Refused(418, "as it is"), 418, "as it is"),
    ],
)
def test_each_error_becomes_a_servers_answer(raised: Exception, status: int, words: str) -> None:
    with pytest.raises(Refused) as caught, edge_calls():
        raise raised
    assert caught.value.status == status
    assert caught.value.words.startswith(words)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit()])
def test_what_is_no_error_passes(raised: BaseException) -> None:
    with pytest.raises(type(raised)), edge_calls():
        raise raised


def test_too_little_space_is_told_as_words_that_the_client_ends(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        FreeSpace(tmp_path, 2**62).require(0)
    assert caught.value.status == 503
    assert caught.value.words.endswith(f"Free space on the disk that holds {tmp_path}")
