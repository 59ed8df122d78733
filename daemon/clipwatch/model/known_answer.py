"""Does a bundle still know what it knew when it was made? Wrong towers give plausible vectors, but wrong answers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipwatch.errors import ModelError
from clipwatch.model.bundle import KnownAnswer
from clipwatch.model.contract import Matrix
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.text import TextEncoder
from clipwatch.records import Pixels

MARGIN: Final = 0.01
"""Cosine by which a picture's own words must win: more than another engine moves, a fraction of what a model that
knows its pictures shows."""


def check_known_answers(vision: VisionEncoder, text: TextEncoder, answers: Sequence[KnownAnswer]) -> None:
    """Each picture must be nearer to its own words than to any other's, by `MARGIN`.

    Raises `ModelError` with the first that is not.
    """
    pictures = vision.encode([square_pixels(answer, vision.preprocessing.side) for answer in answers])
    words = text.encode([answer.text for answer in answers])
    for answer, rival in zip(answers, rivals(pictures, words, answers, MARGIN), strict=True):
        if rival is not None:
            raise ModelError(
                f"The model {vision.name} fails its own test: its picture of {answer.text!r} is as near to {rival!r}.",
                hint="Its files, preprocessing or pooling do not fit together: fetch or convert it again, and leave "
                'model.pooling, resize and normalize at "auto". If it is right all the same, empty known_answers in '
                "its bundle.json.",
            )


def rivals(pictures: Matrix, words: Matrix, answers: Sequence[KnownAnswer], margin: float) -> list[str | None]:
    """For each answer the first other words that its own do not beat by *margin*; None where they beat all."""
    scores = pictures @ words.T
    return [
        next(
            (
                other.text
                for j, other in enumerate(answers)
                # Written so that a score that is no number loses.
                if other.text != answer.text and not scores[i, i] - scores[i, j] >= margin
            ),
            None,
        )
        for i, answer in enumerate(answers)
    ]


def square_pixels(answer: KnownAnswer, side: int) -> Pixels:
    """These pictures are square, so that cropping and squashing are one. Raises `ModelError` for a broken one."""
    try:
        with Image.open(io.BytesIO(answer.image), formats=("PNG", "JPEG")) as image:
            return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ModelError(
            f"bundle.json: the picture of {answer.text!r} is broken.", hint="Fetch the model again."
        ) from error
