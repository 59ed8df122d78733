"""Make the reference pixels beside this file with Hugging Face's own CLIPImageProcessor.

Run once, anywhere `transformers` is installed: `python tests/unit/image/reference/make.py`. It needs no model: the
processor's defaults are those of openai/clip-vit-base-patch32. "china" is stored uncropped: where the rest of width
minus 224 is odd, transformers and OpenAI's code disagree by one pixel on where the centre is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

PICTURES = {
    "china.jpg": False,
    "retina.jpg": True,
    "coffee.png": True,
    "hubble_deep_field.jpg": True,
    "cell.png": True,
}


def main() -> None:
    folders = (Path(sklearn.__file__).parent / "datasets" / "images", Path(skimage.__file__).parent / "data")
    for name, crop in PICTURES.items():
        path = next(folder / name for folder in folders if (folder / name).exists())
        processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False, do_center_crop=crop)
        with Image.open(path) as image:
            made = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
        pixels = np.moveaxis(made, 0, -1).astype(np.uint8)
        Image.fromarray(pixels).save(Path(__file__).parent / f"{path.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
