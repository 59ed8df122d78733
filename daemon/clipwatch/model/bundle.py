"""`bundle.json`: one vision tower, the text tower that is its pair, and what is known of both.

```json
{
  "format": 1,
  "name": "clip-vit-base-patch32",
  "demonstration": false,
  "vision": {"file": "clip_vision.onnx", "sha256": "<64 hex digits>"},
  "text": {"file": "clip_text.onnx", "sha256": "<64 hex digits>", "context": 77, "pad_id": 49407,
           "lowercase": true, "template": "{}"},
  "card": {"licence": "MIT", "source": "…", "anything": "else"},
  "known_answers": [{"text": "a photo of a cat", "image_base64": "<a small PNG or JPEG>"}]
}
```

Beside it: `tokenizer.json` and `preprocessor_config.json`. `text`, `card` and `known_answers` may be absent. The two
hashes are what pairs the towers: a file that was replaced no longer fits and is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clipwatch.errors import ModelError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What a text tower needs to be told; None: read it from the tokenizer and the graph."""

    file: str
    sha256: str
    context: int | None = None
    pad_id: int | None = None
    lowercase: bool = True
    template: str = "{}"


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A square picture (an encoded small PNG or JPEG) and the words that must fit it best of all in the bundle.

    *text* is taken as written, without the template.
    """

    text: str
    image: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked `bundle.json`."""

    name: str
    demonstration: bool
    vision_file: str
    vision_sha256: str
    text: TextFacts | None
    card: Mapping[str, Any]
    known_answers: tuple[KnownAnswer, ...]

    def recorded_sha256(self, name: str) -> str | None:
        """What the file *name* was when it was installed; None where nobody noted it."""
        files = self.card.get("files")
        recorded = files.get(name) if isinstance(files, dict) else None
        return recorded if isinstance(recorded, str) else None


def read_bundle(file: Path) -> Bundle | None:
    """The bundle that *file* describes; None where there is none. Raises `ModelError` naming file and key."""
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON: {error}.", hint="Fetch the model again.") from error
    keys = _Keys(document, str(file))
    if keys.take("format", int) != FORMAT:
        raise ModelError(f"{file} has a format that this version does not know.", hint="Upgrade clipwatch.")
    vision = _Keys(keys.take("vision", dict), f"{file}: vision")
    return Bundle(
        name=keys.take("name", str),
        demonstration=keys.take("demonstration", bool, False),
        vision_file=vision.file(),
        vision_sha256=vision.take("sha256", str),
        text=_text(keys.take("text", dict, None), str(file)),
        card=keys.take("card", dict, {}),
        known_answers=tuple(_known(item, str(file)) for item in keys.take("known_answers", list, [])),
    )


def write_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write *folder*`/bundle.json` whole or not at all; its path."""
    text = bundle.text
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": bundle.name,
        "demonstration": bundle.demonstration,
        "vision": {"file": bundle.vision_file, "sha256": bundle.vision_sha256},
    }
    if text is not None:
        document["text"] = {key: getattr(text, key) for key in TextFacts.__slots__ if getattr(text, key) is not None}
    document["card"] = dict(bundle.card)
    document["known_answers"] = [
        {"text": answer.text, "image_base64": base64.b64encode(answer.image).decode("ascii")}
        for answer in bundle.known_answers
    ]
    file = folder / "bundle.json"
    part = folder / ".bundle.json.part"
    part.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(file)
    return file


def file_sha256(file: Path) -> str:
    """64 hex digits over the file's bytes, for a bundle about to be written."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_REQUIRED: Final = object()


class _Keys:
    def __init__(self, document: Any, source: str) -> None:
        if not isinstance(document, dict):
            raise ModelError(f"{source} must be a JSON object.", hint="Fetch the model again.")
        self.document = document
        self.source = source

    def take(self, key: str, kind: type, default: Any = _REQUIRED) -> Any:
        value = self.document.get(key, default)
        if value is default and default is not _REQUIRED:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ModelError(
                f"{self.source}: {key} is missing or is not a {kind.__name__}.", hint="Fetch the model again."
            )
        return value

    def between(self, key: str, low: int, high: int) -> int | None:
        value: int | None = self.take(key, int, None)
        if value is not None and not low <= value <= high:
            raise ModelError(f"{self.source}: {key} must lie between {low} and {high}, not {value}.")
        return value

    def file(self) -> str:
        name = str(self.take("file", str))
        # A bundle comes from elsewhere: it may not reach outside its own folder, or name what no file can be called.
        if Path(name).is_absolute() or ".." in Path(name).parts or not name.isprintable():
            raise ModelError(f"{self.source}: file must lie in the bundle's folder, not {name!r}.")
        return name


def _text(document: Any, source: str) -> TextFacts | None:
    if document is None:
        return None
    keys = _Keys(document, f"{source}: text")
    template = keys.take("template", str, "{}")
    if template.count("{}") != 1:
        raise ModelError(f"{source}: text: template must hold {{}} once, not {template!r}.")
    return TextFacts(
        file=keys.file(),
        sha256=keys.take("sha256", str),
        context=keys.between("context", 3, 4096),
        pad_id=keys.between("pad_id", 0, 2**31 - 1),
        lowercase=keys.take("lowercase", bool, True),
        template=template,
    )


def _known(document: Any, source: str) -> KnownAnswer:
    keys = _Keys(document, f"{source}: known_answers")
    try:
        image = base64.b64decode(keys.take("image_base64", str), validate=True)
    except ValueError as error:
        raise ModelError(
            f"{source}: known_answers: image_base64 is not base64.", hint="Fetch the model again."
        ) from error
    return KnownAnswer(keys.take("text", str), image)
