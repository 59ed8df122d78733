"""fastembed's own way from image files to vectors, with our tower in place of its download."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench.peers.common import Task, Work, float_rows, now, run_peer
from fastembed import ImageEmbedding

_PREPROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}


def program(task: Task) -> Work:
    """Its default batch, no store."""
    return embedded(task, parallel=None)


def embedded(task: Task, *, parallel: int | None, note: str = "") -> Work:
    """*parallel*: so many processes of its own."""
    model = _embedding(task)
    files = task.files
    started = now()
    rows = list(model.embed([str(file) for file in files], parallel=parallel))
    seconds = now() - started
    return Work({file.name: float_rows(row) for file, row in zip(files, rows, strict=True)}, seconds, note)


def _embedding(task: Task) -> ImageEmbedding:
    directory: Path = task.output / "model"
    directory.mkdir()
    os.symlink(task.model.resolve(), directory / "model.onnx")
    (directory / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR), encoding="utf-8")
    (directory / "config.json").write_text("{}", encoding="utf-8")
    return ImageEmbedding("Qdrant/clip-ViT-B-32-vision", specific_model_path=str(directory), local_files_only=True)


if __name__ == "__main__":
    run_peer(program)
