"""Four photographs that ship, and what is on them: what every model of photographs and words must know.

All are in the public domain or CC0 and come from scikit-image's examples; OpenAI's own introduction to CLIP uses the
same ones. They differ so much that no model that works can take one for another.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from clipwatch.model.bundle import KnownAnswer

_CAPTIONS: Final = {
    "cat.jpg": "a close-up of a cat",
    "astronaut.jpg": "a portrait of an astronaut in an orange suit",
    "rocket.jpg": "a rocket standing on a launch pad at night",
    "coffee.jpg": "a cup of coffee on a red saucer",
}


def photographs() -> tuple[KnownAnswer, ...]:
    """Each as a square JPEG, with its words."""
    folder = resources.files("clipwatch.model") / "known"
    return tuple(KnownAnswer(words, (folder / name).read_bytes()) for name, words in _CAPTIONS.items())
