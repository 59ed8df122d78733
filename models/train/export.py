"""Turns a checkpoint into the bundle: two ONNX towers with weights stored in half precision, and the files beside them.

    python models/train/export.py [--checkpoint FILE] [--output FOLDER]

It compares the exported towers with torch on real drawings and phrases, and refuses a cosine below 0.9999.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from drawings import concepts, on_white
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from phrases import MAX_TOKENS, PAD, spoken
from PIL import Image
from runtime import onnxruntime
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from towers import MEAN, STD, Both, Text, Vision
from train import OUT, ids_of

HERE = Path(__file__).parent
SIDE = 224
LEAST_COSINE = 0.9999
KNOWN_ANSWERS = (
    "red apple", "dog face", "automobile", "soccer ball", "rainbow", "guitar", "pizza", "house", "umbrella", "penguin",
    "blue heart", "bicycle", "sunflower", "rocket", "snowman", "crown",
)  # fmt: skip
KNOWN_STYLE, KNOWN_SIDE = "noto", 96


class ShippedVision(nn.Module):
    """`pixel_values [n, 3, 224, 224]` → `image_embeds [n, 512]` of unit length; the tower sees 112×112."""

    def __init__(self, tower: Vision) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.tower(functional.avg_pool2d(pixel_values, 2)), dim=-1)


class ShippedText(nn.Module):
    """`input_ids [n, l]` → `text_embeds [n, 512]` of unit length."""

    def __init__(self, tower: Text) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.tower(input_ids), dim=-1)


def exported(module: nn.Module, example: Tensor, names: tuple[str, str], axes: dict[str, dict[int, str]]) -> bytes:
    """ONNX bytes, opset 17, large weights in half precision."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tower.onnx"
        torch.onnx.export(
            module.eval(),
            (example,),
            file,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
            do_constant_folding=True,
        )
        content: bytes = halved(onnx.load(file)).SerializeToString(deterministic=True)
    return content


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with each weight of more than 1,024 numbers stored as float16 and cast back when it is loaded."""
    casts = []
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        if stored.data_type != TensorProto.FLOAT or values.size <= 1024:
            continue
        name = stored.name
        stored.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        node.doc_string = ""
    model.producer_name, model.producer_version = "clipwatch", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def least_cosine(content: bytes, module: nn.Module, inputs: Tensor) -> float:
    """The lowest cosine between what torch and ONNX Runtime make of *inputs*."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        expected = module(inputs).numpy()
    rows: NDArray[np.float64] = (found.astype(np.float64) * expected).sum(-1)
    return float((rows / np.linalg.norm(found, axis=-1) / np.linalg.norm(expected, axis=-1)).min())


def pixel_values(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 `[n, 224, 224, 3]` to CLIP-normalised `[n, 3, 224, 224]`."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def known_answers() -> list[dict[str, str]]:
    """Small pictures of training drawings with their names."""
    everything = concepts()
    places = {concept.label: place for place, concept in enumerate(everything)}
    wrong = [label for label in KNOWN_ANSWERS if everything[places[label]].held_out]
    if wrong:
        raise SystemExit(f"These known answers are held out, choose others: {wrong}")
    drawn = on_white(KNOWN_STYLE, everything, KNOWN_SIDE)
    answers = []
    for label in KNOWN_ANSWERS:
        buffer = io.BytesIO()
        image = Image.fromarray(drawn[places[label]]).quantize(48, dither=Image.Dither.NONE)
        image.save(buffer, "PNG", optimize=True)
        answers.append({"text": label, "image_base64": base64.b64encode(buffer.getvalue()).decode("ascii")})
    return answers


def preprocessor() -> dict[str, Any]:
    """CLIP's own steps, in Hugging Face's words."""
    return {
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def bundle(vision: bytes, text: bytes) -> dict[str, Any]:
    """What `clipwatch` reads first."""
    return {
        "format": 1,
        "name": "demonstration (drawings)",
        "demonstration": True,
        "vision": {"file": "clip_vision.onnx", "sha256": hashlib.sha256(vision).hexdigest()},
        "text": {
            "file": "clip_text.onnx",
            "sha256": hashlib.sha256(text).hexdigest(),
            "context": MAX_TOKENS,
            "pad_id": PAD,
            "lowercase": True,
            "template": "{}",
        },
        "card": {
            "licence": "Apache-2.0; made from Apache-2.0, CC-BY-4.0, MIT and Unicode-3.0 works: see ATTRIBUTION.md",
            "source": "models/train",
            "width": 512,
            "summary": "A small CLIP trained on emoji drawings: it knows emoji-like drawings, not photographs.",
        },
        "known_answers": known_answers(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=OUT / "checkpoint.pt")
    parser.add_argument("--output", type=Path, default=OUT / "bundle")
    parser.add_argument(
        "--weights", choices=("average", "model"), default="model", help="the running average, or the last"
    )
    chosen = parser.parse_args()
    state = torch.load(chosen.checkpoint, weights_only=False)
    tokenizer = Tokenizer.from_file(str(OUT / "tokenizer.json"))
    model = Both(tokenizer.get_vocab_size(), len(state["model"]["directions.weight"]))
    model.load_state_dict(state[chosen.weights])
    model.eval()
    vision, text = ShippedVision(model.vision), ShippedText(model.text)
    everything = concepts()
    drawn = on_white(KNOWN_STYLE, everything, SIDE)
    pictures = pixel_values(np.stack([drawn[index] for index in sorted(drawn)[:64]]))
    ids = ids_of(tokenizer, [spoken(concept.label) for concept in everything[:256]], MAX_TOKENS)
    names = (("pixel_values", "image_embeds"), ("input_ids", "text_embeds"))
    vision_bytes = exported(vision, pictures[:2], names[0], {"pixel_values": {0: "n"}, "image_embeds": {0: "n"}})
    text_bytes = exported(text, ids[:2], names[1], {"input_ids": {0: "n", 1: "l"}, "text_embeds": {0: "n"}})
    for name, content, module, inputs in (("vision", vision_bytes, vision, pictures), ("text", text_bytes, text, ids)):
        cosine = least_cosine(content, module, inputs)
        print(f"{name}: {len(content)} bytes, least cosine to torch {cosine:.7f}")
        if cosine < LEAST_COSINE:
            raise SystemExit(f"The exported {name} tower differs from torch.")
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "clip_vision.onnx").write_bytes(vision_bytes)
    (chosen.output / "clip_text.onnx").write_bytes(text_bytes)
    shutil.copyfile(OUT / "tokenizer.json", chosen.output / "tokenizer.json")
    shutil.copyfile(HERE / "ATTRIBUTION.md", chosen.output / "ATTRIBUTION.md")
    for file, document in (
        ("preprocessor_config.json", preprocessor()),
        ("bundle.json", bundle(vision_bytes, text_bytes)),
    ):
        (chosen.output / file).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"step {state['step']} of {state['steps']} written to {chosen.output}")


if __name__ == "__main__":
    main()
