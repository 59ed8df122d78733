"""`NAME.variant.json` beside a model: the faster way of computing it that its user switched to.

```json
{"variant": "int8", "of": "<SHA-256 of the model>", "cosine": 0.9997,
 "file": "clip_vision.int8.onnx", "sha256": "<SHA-256 of that file>"}
```

`file` and `sha256` are there only where the variant is a file of its own. Removing the file switches back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from clipwatch.errors import ModelError
from clipwatch.model.fidelity import GATE

ORIGINAL: Final = "original"
INT8: Final = "int8"
OPENVINO: Final = "openvino"
PRECISIONS: Final = {INT8: "int8", OPENVINO: "bf16"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A choice. *of*: SHA-256 of the model it was measured against, at mean cosine *cosine*."""

    variant: str
    of: str
    cosine: float
    file: str = ""
    sha256: str = ""

    @property
    def precision(self) -> str:
        """For the fingerprint: "" where the vectors are the original's as far as answers can tell."""
        return "" if self.cosine >= GATE else PRECISIONS[self.variant]


def variant_file(vision: Path) -> Path:
    """Where the choice for the model *vision* lies."""
    return vision.with_name(f"{vision.stem}.variant.json")


def read_variant(vision: Path) -> Variant | None:
    """The choice made for *vision*; None: the model itself. Raises `ModelError`."""
    file = variant_file(vision)
    try:
        variant = Variant(**json.loads(file.read_text(encoding="utf-8-sig")))
        if variant.variant not in PRECISIONS or Path(variant.file).name != variant.file:
            raise ValueError(variant.variant)
        return Variant(variant.variant, str(variant.of), float(variant.cosine), variant.file, str(variant.sha256))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file} cannot be read: {error}.", hint="Remove it, or run `clipwatch model optimize` again."
        ) from error


def write_variant(vision: Path, variant: Variant | None) -> None:
    """Choose; None takes the choice back. Raises `ModelError` where the folder cannot be written."""
    file = variant_file(vision)
    try:
        if variant is None:
            file.unlink(missing_ok=True)
            return
        part = file.with_name(f".{file.name}.part")
        part.write_text(json.dumps(asdict(variant), indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be written: {error.strerror}.") from error
