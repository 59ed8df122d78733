"""transformers and PyTorch, as a model's page shows it: image processor, model, batches of 25."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from bench.peers.common import Task, Work, float_rows, now, run_peer
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

BATCH = 25


def program(task: Task) -> Work:
    """No store."""
    model: Any = CLIPVisionModelWithProjection.from_pretrained(task.peers / "tower").eval()
    processor: Any = CLIPImageProcessor()
    files = task.files
    vectors: dict[str, NDArray[np.float32]] = {}
    started = now()
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            chunk = files[start : start + BATCH]
            images = [Image.open(file).convert("RGB") for file in chunk]
            pixels = processor(images=images, return_tensors="pt")["pixel_values"]
            rows = model(pixel_values=pixels).image_embeds
            rows = rows / rows.norm(dim=-1, keepdim=True)
            vectors |= {file.name: float_rows(row) for file, row in zip(chunk, rows.numpy(), strict=True)}
    return Work(vectors, now() - started, note=type(processor).__name__)


if __name__ == "__main__":
    run_peer(program)
