from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipwatch.errors import ConfigError
from clipwatch.model.combine import combine
from clipwatch.records import Vector

X = np.array([1, 0, 0], np.float32)
Y = np.array([0, 1, 0], np.float32)


def test_equal_weights_meet_in_the_middle() -> None:
    np.testing.assert_allclose(combine([(1, X), (1, Y)]), [0.5**0.5, 0.5**0.5, 0], atol=1e-6)


def test_minus_leads_away() -> None:
    both = (X + Y) / np.float32(2**0.5)
    np.testing.assert_allclose(combine([(1, both), (-(0.5**0.5), Y)]), X, atol=1e-6)


def test_a_single_part_is_itself() -> None:
    np.testing.assert_array_equal(combine([(1, X)]), X)


@pytest.mark.parametrize("parts", [[], [(1.0, X), (-1.0, X)], [(0.0, X)], [(float("nan"), X)]])
def test_parts_that_cancel_out_are_refused(parts: list[tuple[float, Vector]]) -> None:
    with pytest.raises(ConfigError, match="cancel each other out"):
        combine(parts)


@given(
    arrays(np.float32, (3, 8), elements=st.floats(-1, 1, width=32)), st.lists(st.floats(-2, 2), min_size=3, max_size=3)
)
def test_the_answer_is_a_unit_vector_or_a_refusal(vectors: Vector, weights: list[float]) -> None:
    try:
        found = combine(list(zip(weights, vectors, strict=True)))
    except ConfigError:
        return
    assert found.dtype == np.float32
    assert abs(float(np.linalg.norm(found)) - 1) < 1e-5
