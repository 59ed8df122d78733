"""Any `bundle.json` is understood or refused, and names no file outside its own folder."""

from __future__ import annotations

import json

import atheris

with atheris.instrument_imports(include=["clipwatch.model.bundle", "clipwatch.model.files"]):
    from clipwatch.model.bundle import read_bundle
    from clipwatch.model.files import locate

from clipwatch.errors import ModelError
from fuzz.driver import folder_in_memory, fuzz, mutated_json

KEYS = (
    *("format", "name", "demonstration", "vision", "file", "sha256", "text", "context", "pad_id", "lowercase"),
    *("template", "card", "known_answers", "image_base64"),
)
GOOD = {
    "format": 1,
    "name": "clip",
    "vision": {"file": "clip_vision.onnx", "sha256": "a" * 64},
    "text": {"file": "clip_text.onnx", "sha256": "b" * 64, "context": 77, "template": "a {}"},
    "card": {"licence": "MIT"},
    "known_answers": [{"text": "a cat", "image_base64": "AAAA"}],
}
SEEDS = (GOOD, {**GOOD, "vision": {"file": "../up.onnx", "sha256": ""}}, {**GOOD, "text": None, "format": 2})
FOLDER = folder_in_memory()


def target(data: bytes) -> None:
    file = FOLDER / "bundle.json"
    file.write_bytes(data)
    try:
        bundle = read_bundle(file)
        assert bundle is not None
        for name in (bundle.vision_file, *((bundle.text.file,) if bundle.text else ())):
            assert "\0" in name or (FOLDER / name).resolve().is_relative_to(FOLDER.resolve())
        locate(str(FOLDER), explicit_path=True)
    except ModelError:
        pass


if __name__ == "__main__":
    fuzz(target, (json.dumps(seed).encode() for seed in SEEDS), mutated_json(KEYS))
