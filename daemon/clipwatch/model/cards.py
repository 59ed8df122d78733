"""The models that `model fetch` knows: where each lies on the Hugging Face hub, and what is true of it.

A card pins a commit and, where it is known, each file's SHA-256; where it is not, the hub's own
checksum is taken and recorded. Nothing here touches the network or a file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from clipwatch.errors import ModelError
from clipwatch.model.files import TEXT_NAMES, TOKENIZER_NAME, VISION_NAMES


@dataclass(frozen=True, slots=True)
class CardFile:
    """One file on the hub: its name here, SHA-256 in hex (None where unknown) and size in bytes."""

    name: str
    sha256: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model on the hub. *files*: path in the repository → what it becomes here.

    *folder* is below the models folder; "" for the one that the default configuration names.
    *width*: numbers in a vector. *side*: pixels of the square input. *context*, *pad_id*: tokens in a text, and what
    fills it up (None: as `tokenizer.json` says). *licence*: what the publisher of the weights states of them, not what
    their export or the code beside them says.
    """

    name: str
    title: str
    repository: str
    revision: str
    files: Mapping[str, CardFile]
    width: int
    side: int
    context: int
    pad_id: int | None
    licence: str
    summary: str
    folder: str

    @property
    def vision(self) -> str:
        """The local name of the vision tower."""
        return next(file.name for file in self.files.values() if file.name in VISION_NAMES)

    @property
    def text(self) -> str:
        """The local name of the text tower."""
        return next(file.name for file in self.files.values() if file.name in TEXT_NAMES)

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files.values())


def _files(*rows: tuple[str, str, str, int]) -> Mapping[str, CardFile]:
    return MappingProxyType({remote: CardFile(name, sha256, size) for remote, name, sha256, size in rows})


CARDS: Final = (
    ModelCard(
        name="clip-vit-base-patch32",
        title="CLIP ViT-B/32",
        repository="Xenova/clip-vit-base-patch32",
        revision="d15189d7028b43f1d3e65039190477f6af591c2a",
        files=_files(
            (
                "onnx/vision_model.onnx",
                "clip_vision.onnx",
                "fd6e1402a588279d1723c7534d4bcba5bc0b14b47dfab0e46f8c47b8270d7d40",
                351_685_709,
            ),
            (
                "onnx/text_model.onnx",
                "clip_text.onnx",
                "3f6571f5bad13a97c469c1622e1cfc4d9aef78b79fdbfcff804ca357bfada8cc",
                254_058_553,
            ),
            (
                "tokenizer.json",
                TOKENIZER_NAME,
                "f7f3b7af117d467b58374797691a6438d3e6b9e9cef800dfd5dced7f697a90cd",
                2_224_119,
            ),
            (
                "preprocessor_config.json",
                "preprocessor_config.json",
                "6f638fb9401a6d6296feff533ee7efe657b787c49f954f82f5906b36ef2a1b1f",
                520,
            ),
        ),
        width=512,
        side=224,
        context=77,
        pad_id=49407,
        licence="none stated: OpenAI's code is MIT, its model card calls any deployed use out of scope",
        summary="The classic, and the default: English, fast enough everywhere, known to every tool.",
        folder="",
    ),
    ModelCard(
        name="siglip2-base",
        title="SigLIP 2 base, patch 16, 224 px",
        repository="onnx-community/siglip2-base-patch16-224-ONNX",
        revision="ba1f3b0843f24bc5417d38e19c37b287d719b2f4",
        files=_files(
            (
                "onnx/vision_model.onnx",
                "vision_model.onnx",
                "c0573e3f4140c3a7c4e9cc5912bd6b26a033b46a6a8e8af26cbea262b163bcad",
                371_807_752,
            ),
            (
                "onnx/text_model.onnx",
                "text_model.onnx",
                "baf12d941beabafafb14f7b4adb38dc15be18681b964a84410ec53d9d65e6293",
                1_129_469_657,
            ),
            (
                "tokenizer.json",
                TOKENIZER_NAME,
                "cb9140fae3ac5122c972d37adf83e1248471a38147ad76f8215c8872c6fd8322",
                34_363_039,
            ),
            (
                "preprocessor_config.json",
                "preprocessor_config.json",
                "9b36b57ebaf20f09bf4c22100ccc21877ea6bfe5aead0c00c59f8af8ccefacfc",
                394,
            ),
        ),
        width=768,
        side=224,
        context=64,
        pad_id=0,
        licence="Apache-2.0 (Google's weights)",
        summary="The best answers, in many languages; four times the work of B/32 per picture, a large text tower.",
        folder="siglip2-base",
    ),
    ModelCard(
        name="mobileclip-s0",
        title="MobileCLIP-S0",
        repository="Xenova/mobileclip_s0",
        revision="757d59c9c6870a76a4b0306f05f5061bca15c39f",
        files=_files(
            (
                "onnx/vision_model.onnx",
                "vision_model.onnx",
                "17d3c037b1d488c10c50e09f6009ea5a198caef4e0e8f4ea5617b7cb2d067ac0",
                45_543_630,
            ),
            (
                "onnx/text_model.onnx",
                "text_model.onnx",
                "f6e9bd5742bfc515889e901634d8a2ff2a57fab8564e4ad3760e800b1a51b77c",
                169_807_789,
            ),
            (
                "tokenizer.json",
                TOKENIZER_NAME,
                "72ed5c96db5729294468543e4bc75fce14ca63f58e37300290189ba1c1e52b85",
                2_224_081,
            ),
            (
                "preprocessor_config.json",
                "preprocessor_config.json",
                "b031f09fbd69e22a605b6cc7433993249ee893b7fc1b79321f669cd015493dd4",
                382,
            ),
        ),
        width=512,
        side=256,
        context=77,
        pad_id=0,
        licence="Apple ML Research Model Licence: for research only, in no product or service",
        summary="For research only. Small and quick, English, close to CLIP ViT-B/16 in quality.",
        folder="mobileclip-s0",
    ),
)

DEFAULT_CARD: Final = CARDS[0]


def card_named(name: str) -> ModelCard:
    """The card called *name*; `ModelError` names the nearest one.

    Where several have all words of *name*, that is the first of them: the default comes before all others.
    """
    for card in CARDS:
        if card.name == name:
            return card
    names = [card.name for card in CARDS]
    parts = name.lower().replace("_", "-").split("-")
    near = [full for full in names if all(part in full for part in parts)] or difflib.get_close_matches(
        name, names, 1, 0.4
    )
    known = ", ".join(names)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {known}."
    raise ModelError(f"No model is called {name!r}.", hint=hint)
