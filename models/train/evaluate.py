"""Measures an exported bundle on what was held out, beside chance and beside the colour-and-layout model.

    python models/train/evaluate.py [--bundle FOLDER] [--output FILE] [--sheet FILE]

Pictures go the way that the daemon's do: 224×224 RGB on white, both towers in ONNX Runtime. The answer to a query is
the one drawing of the same concept; near misses (another clock, the woman for the man) count as wrong.
"""

from __future__ import annotations

import argparse
import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from drawings import CACHE, HELD_OUT_STYLE, TRAINING_STYLES, Concept, concepts, on_white
from numpy.typing import NDArray
from phrases import spoken
from PIL import Image, ImageDraw, ImageOps
from runtime import onnxruntime
from tokenizers import Tokenizer
from train import OUT

HERE = Path(__file__).parent
SIDE = 224
RANKS = (1, 5, 10)
QUERIES = (
    "red apple", "a red car", "dog", "cat face", "house", "tree", "a bottle of wine", "soccer ball", "happy face",
    "crying", "musical instrument", "boat on the water", "weather", "blue heart", "fish", "something to drink",
    "insect", "clock", "flag of Japan", "person riding a bicycle",
)  # fmt: skip
"""Looked at as pictures for the card: names, phrases, kinds of things, two that no training phrase spells so."""

PHOTOGRAPHS = {
    "astronaut.png": "woman astronaut", "camera.png": "camera", "chelsea.png": "cat face", "clock_motion.png": "clock",
    "coffee.png": "hot beverage", "coins.png": "coin", "horse.png": "horse", "moon.png": "full moon",
    "motorcycle_left.png": "motorcycle", "rocket.jpg": "rocket", "china.jpg": "temple", "flower.jpg": "flower",
    "grass.png": "grass", "brick.png": "brick", "gravel.png": "stones", "page.png": "page of text",
    "retina.jpg": "eye", "hubble_deep_field.jpg": "galaxy",
}  # fmt: skip
"""Pictures that scikit-image and scikit-learn carry, and the words by which one would look for each."""

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Towers:
    """A vision tower, and the text tower beside it where there is one."""

    vision: onnxruntime.InferenceSession
    text: onnxruntime.InferenceSession | None
    tokenizer: Tokenizer | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def at(cls, folder: Path) -> Towers:
        """The towers of a bundle's folder."""
        steps = json.loads((folder / "preprocessor_config.json").read_text())
        words = folder / "clip_text.onnx"
        return cls(
            _session(folder / "clip_vision.onnx"),
            _session(words) if words.exists() else None,
            Tokenizer.from_file(str(folder / "tokenizer.json")) if words.exists() else None,
            tuple(steps["image_mean"]) if steps["do_normalize"] else (0.0, 0.0, 0.0),
            tuple(steps["image_std"]) if steps["do_normalize"] else (1.0, 1.0, 1.0),
        )

    def images(self, pictures: list[NDArray[np.uint8]]) -> Rows:
        """uint8 `[224, 224, 3]` each, to unit rows."""
        rows = []
        for start in range(0, len(pictures), 32):
            scaled = np.stack(pictures[start : start + 32]).astype(np.float32) / 255
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            values = ((scaled - mean) / std).transpose(0, 3, 1, 2)
            rows.append(self.vision.run(None, {"pixel_values": np.ascontiguousarray(values)})[0])
        return _unit(np.concatenate(rows))

    def texts(self, phrases: list[str]) -> Rows:
        """Whole phrases to unit rows."""
        if self.text is None or self.tokenizer is None:
            raise ValueError("this bundle has no text tower")
        rows = []
        for start in range(0, len(phrases), 64):
            encoded = self.tokenizer.encode_batch(phrases[start : start + 64])
            rows.append(self.text.run(None, {"input_ids": np.array([row.ids for row in encoded], np.int64)})[0])
        return _unit(np.concatenate(rows))


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _unit(rows: Rows) -> Rows:
    unit: Rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)
    return unit


def recall(queries: Rows, gallery: Rows, right: NDArray[np.int64]) -> dict[str, float]:
    """Per cent of queries whose right row of the gallery is among the first 1, 5, 10; and what chance gives."""
    scores = queries @ gallery.T
    own = scores[np.arange(len(right)), right]
    better = (scores > own[:, None]).sum(1)
    # a gallery row that ties with the right one is counted as standing before it half of the time
    ties = (scores == own[:, None]).sum(1) - 1
    place = better + ties / 2
    found = {f"r@{rank}": round(100 * float((place < rank).mean()), 1) for rank in RANKS}
    chance = {f"chance@{rank}": round(100 * rank / len(gallery), 2) for rank in RANKS}
    return {**found, **chance, "queries": len(right), "gallery": len(gallery)}


@dataclass(frozen=True, slots=True)
class Style:
    """A style's pictures with the rows that both models make of them, by concept."""

    index: NDArray[np.int64]
    trained: Rows
    plain: Rows

    def part(self, wanted: set[int]) -> NDArray[np.int64]:
        """Places of these concepts."""
        return np.flatnonzero(np.isin(self.index, sorted(wanted)))


def text_to_image(
    towers: Towers, known: tuple[Concept, ...], style: Style, asked: set[int], among: set[int]
) -> dict[str, float]:
    """By name: the concepts *asked* for, among the drawings of the concepts *among*."""
    gallery, queries = style.part(among), style.part(asked & among)
    texts = towers.texts([spoken(known[index].label) for index in style.index[queries]])
    return recall(texts, style.trained[gallery], np.searchsorted(gallery, queries))


def image_to_image(one: Style, other: Style, asked: set[int]) -> dict[str, dict[str, float]]:
    """A drawing of style *one*, its like among all of style *other*; for both models."""
    shared = asked & set(one.index.tolist()) & set(other.index.tolist())
    queries, right = one.part(shared), other.part(shared)
    return {
        "trained": recall(one.trained[queries], other.trained, right),
        "colour and layout": recall(one.plain[queries], other.plain, right),
    }


def mean_of(parts: list[dict[str, float]]) -> dict[str, float]:
    """The plain mean of several measurements."""
    return {key: round(float(np.mean([part[key] for part in parts])), 2) for key in parts[0]}


def measured(towers: Towers, known: tuple[Concept, ...], styles: dict[str, Style]) -> dict[str, object]:
    """Every number of the card."""
    everything = set(range(len(known)))
    held_out = {index for index in everything if known[index].held_out}
    learnt = everything - held_out
    new = styles[HELD_OUT_STYLE]
    trained_styles = [styles[name] for name in TRAINING_STYLES]
    pairs = [(one, other) for one in trained_styles for other in trained_styles if one is not other]
    kinds = ("trained", "colour and layout")

    def across(pairs: list[tuple[Style, Style]], asked: set[int]) -> dict[str, dict[str, float]]:
        found = [image_to_image(one, other, asked) for one, other in pairs]
        return {kind: mean_of([part[kind] for part in found]) for kind in kinds}

    to_known = [(new, other) for other in trained_styles]
    return {
        "text to image, by name": {
            "new style, learnt concepts, among learnt concepts": text_to_image(towers, known, new, learnt, learnt),
            "new style, learnt concepts, among all": text_to_image(towers, known, new, learnt, everything),
            "new style, held-out concepts, among all": text_to_image(towers, known, new, held_out, everything),
            "new style, held-out concepts, among held-out": text_to_image(towers, known, new, held_out, held_out),
            "training styles, held-out concepts, among all": mean_of(
                [text_to_image(towers, known, style, held_out, everything) for style in trained_styles]
            ),
            "training styles, held-out concepts, among held-out": mean_of(
                [text_to_image(towers, known, style, held_out, held_out) for style in trained_styles]
            ),
            "training styles, learnt concepts, among all (seen in training)": mean_of(
                [text_to_image(towers, known, style, learnt, everything) for style in trained_styles]
            ),
        },
        "image to image": {
            "from the new style to each training style, learnt concepts": across(to_known, learnt),
            "from the new style to each training style, held-out concepts": across(to_known, held_out),
            "between training styles, held-out concepts": across(pairs, held_out),
        },
    }


def photographs(towers: Towers, known: tuple[Concept, ...]) -> dict[str, object]:
    """What the towers make of photographs: the three names each is nearest to, and where its own words put it."""
    folders = [Path(module.__file__ or "").parent for module in (skimage.data, sklearn.datasets)]
    pictures = []
    for name in PHOTOGRAPHS:
        file = next(path for folder in folders for path in (folder / name, folder / "images" / name) if path.exists())
        with Image.open(file) as image:
            pictures.append(np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)))
    rows = towers.images(pictures)
    labels = [spoken(concept.label) for concept in known]
    nearest = np.argsort(-rows @ towers.texts(labels).T, axis=1)[:, :3]
    scores = towers.texts(list(PHOTOGRAPHS.values())) @ rows.T
    places = (scores > scores.diagonal()[:, None]).sum(1) + 1
    alike = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
    cosines = {"mean": round(float(alike.mean()), 2), "highest": round(float(alike.max()), 2)}
    return {
        "found first by its words": f"{int((places == 1).sum())} of {len(places)}",
        "cosine between different photographs": cosines,
        "each": {
            name: {"asked": words, "place": int(place), "nearest names": [labels[i] for i in names]}
            for (name, words), place, names in zip(PHOTOGRAPHS.items(), places, nearest, strict=True)
        },
    }


def sheet(
    towers: Towers, style: Style, pictures: dict[int, NDArray[np.uint8]], queries: tuple[str, ...], file: Path
) -> None:
    """The five nearest drawings of each query, as one picture to look at."""
    small, columns = 88, 2
    rows = -(-len(queries) // columns)
    canvas = Image.new("RGB", (columns * (5 * small + 20), rows * (small + 18)), "white")
    pen = ImageDraw.Draw(canvas)
    scores = towers.texts(list(queries)) @ style.trained.T
    for place, (query, row) in enumerate(zip(queries, scores, strict=True)):
        left, top = (place // rows) * (5 * small + 20), (place % rows) * (small + 18)
        pen.text((left + 2, top + 2), query, fill="black")
        for rank, hit in enumerate(np.argsort(-row)[:5]):
            drawn = Image.fromarray(pictures[int(style.index[hit])]).resize((small, small))
            canvas.paste(drawn, (left + rank * small, top + 16))
    canvas.save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=OUT / "bundle")
    parser.add_argument("--output", type=Path, default=OUT / "results.json")
    parser.add_argument("--sheet", type=Path)
    chosen = parser.parse_args()
    colours = CACHE / "colour-and-layout"
    runpy.run_path(str(HERE.parent / "make_demonstration.py"))["write"](colours)
    known = concepts()
    towers, plain = Towers.at(chosen.bundle), Towers.at(colours)
    pictures = {name: on_white(name, known, SIDE) for name in (*TRAINING_STYLES, HELD_OUT_STYLE)}
    styles = {}
    for name, drawn in pictures.items():
        index = np.array(sorted(drawn))
        ordered = [drawn[place] for place in index.tolist()]
        styles[name] = Style(index, towers.images(ordered), plain.images(ordered))
    results = {**measured(towers, known, styles), "photographs": photographs(towers, known)}
    chosen.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))
    if chosen.sheet:
        sheet(towers, styles[HELD_OUT_STYLE], pictures[HELD_OUT_STYLE], QUERIES, chosen.sheet)


if __name__ == "__main__":
    main()
