"""clip-retrieval's own reader, mapper, writer and runner, with our tower (on PyTorch) in place of its download.

Its loader of models, its text towers for other languages and its link to a service are left out: nothing that
runs here needs them, and they ask for versions that no one environment holds.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.peers.common import Task, Work, float_rows, run_peer
from bench.reference import pixels_of_image
from PIL import Image
from transformers import CLIPVisionModelWithProjection

BATCH = 25


def program(task: Task) -> Work:
    """`worker`, as its command calls it for one partition."""
    tower: Any = CLIPVisionModelWithProjection.from_pretrained(task.peers / "tower").eval()
    model = types.SimpleNamespace(encode_image=lambda pixels: tower(pixel_values=pixels).image_embeds, encode_text=None)
    sys.modules["all_clip"].load_clip = lambda **_: (model, _preprocess, None)  # type: ignore[attr-defined]
    worker = importlib.import_module("clip_retrieval.clip_inference.worker")
    output = task.output / "embeddings"
    for name in ("img_emb", "stats", "metadata"):
        (output / name).mkdir(parents=True)
    worker.worker(
        tasks=[0],
        input_dataset=str(task.folder),
        output_folder=str(output),
        output_partition_count=1,
        batch_size=BATCH,
        # Its default is 4; with more than the machine's cores it gets slower.
        num_prepro_workers=task.cores,
        enable_text=False,
        clip_model="bench",
    )
    return Work(_vectors(output), _seconds(output), note="loading left out; seconds by its own statistics")


def _preprocess(image: Image.Image) -> torch.Tensor:
    """Clip's own, as its loader would bring it."""
    return torch.from_numpy(pixels_of_image(image))


def _stand_in() -> None:
    """Modules that are imported at the top of its files and not used here."""
    names: tuple[tuple[str, dict[str, Any]], ...] = (
        ("all_clip", {"load_clip": None}),
        ("sentence_transformers", {"SentenceTransformer": object}),
        ("wandb", {}),
    )
    for name, contents in names:
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
    # Its top imports its server and its index builder.
    spec = importlib.util.find_spec("clip_retrieval")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("clip-retrieval is not installed.")
    package = types.ModuleType("clip_retrieval")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["clip_retrieval"] = package


def _vectors(output: Path) -> dict[str, Any]:
    rows = np.load(next((output / "img_emb").glob("*.npy")))
    paths = importlib.import_module("pandas").read_parquet(next((output / "metadata").glob("*.parquet")))["image_path"]
    return {Path(path).name: float_rows(row) for path, row in zip(paths, rows, strict=True)}


def _seconds(output: Path) -> float:
    stats = json.loads(next((output / "stats").glob("*.json")).read_text(encoding="utf-8"))
    return float(stats["total_duration"])


# Its statistics are kept by a spawned process, which imports this file and then its package.
_stand_in()

if __name__ == "__main__":
    run_peer(program)
