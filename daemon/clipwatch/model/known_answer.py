"""Does a bundle still know what it knew when it was made? Wrong towers give plausible vectors, but wrong answers."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipwatch.errors import ModelError
from clipwatch.model.bundle import KnownAnswer
from clipwatch.model.encoder import VisionEncoder
from clipwatch.model.text import TextEncoder
from clipwatch.records import Pixels


def check_known_answers(vision: VisionEncoder, text: TextEncoder, answers: Sequence[KnownAnswer]) -> None:
    """Each picture must be nearer to its own words than to any other's.

    Raises `ModelError` with the first that is not.
    """
    pictures = vision.encode([_pixels(answer, vision.preprocessing.side) for answer in answers])
    words = text.encode([answer.text for answer in answers])
    scores = pictures @ words.T
    for i, answer in enumerate(answers):
        own = scores[i, i]
        others = [j for j, other in enumerate(answers) if other.text != answer.text and not scores[i, j] < own]
        if others or not np.isfinite(own):
            rival = f"{answers[others[0]].text!r}" if others else "nothing"
            raise ModelError(
                f"The model {vision.name} fails its own test: its picture of {answer.text!r} is nearer to {rival}.",
                hint="Its files, preprocessing or pooling do not fit together: fetch or convert it again, and leave "
                'model.pooling, resize and normalize at "auto".',
            )


def _pixels(answer: KnownAnswer, side: int) -> Pixels:
    """These pictures are square, so that cropping and squashing are one."""
    try:
        with Image.open(io.BytesIO(answer.image), formats=("PNG", "JPEG")) as image:
            return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ModelError(
            f"bundle.json: the picture of {answer.text!r} is broken.", hint="Fetch the model again."
        ) from error
