"""Fetches the drawings and their words, and draws every one of them once.

The sources are packages of the npm registry; `npm pack` fetches them and nothing of them is kept in this repository.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

CACHE = Path(__file__).parent / ".cache"
SIDE = 128
"""Side in pixels at which every drawing is rendered once; the towers see at most 112."""

TRAINING_STYLES = {
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "fluent": "@iconify-json/fluent-emoji@1.2.7",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
}
HELD_OUT_STYLE = "openmoji"
HELD_OUT_PACKAGE = "@iconify-json/openmoji@1.2.29"
WORDS_PACKAGE = "emojibase-data@17.0.0"
OTHER_LANGUAGES = ("de", "fr", "es", "it", "pt", "nl")
HELD_OUT_SHARE = 0.1
HELD_OUT_SEED = 20240229

_COMPONENT_GROUP = 2  # skin tones and hair: parts of drawings, not drawings

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that all styles draw, with its words."""

    key: str
    label: str
    names: tuple[str, ...]
    tags: tuple[str, ...]
    kinds: tuple[str, ...]
    foreign: tuple[str, ...]
    group: int
    held_out: bool

    @property
    def may_flip(self) -> bool:
        """Whether its mirror image is still the same thing: not for letters, arrows, clocks and flags."""
        words = set(self.label.lower().replace("-", " ").replace(":", " ").split())
        return self.group < 8 and not words & {"left", "right", "clock", "oclock", "o’clock", "facing", "map", "moon"}


@dataclass(frozen=True, slots=True)
class Drawings:
    """`pixels` is premultiplied RGBA `[n, SIDE, SIDE, 4]`; the other arrays say what each one is."""

    pixels: Images
    style: NDArray[np.int64]
    concept: NDArray[np.int64]
    colour: tuple[str, ...]
    styles: tuple[str, ...]

    def of_style(self, name: str) -> NDArray[np.int64]:
        """Row of each concept's drawing in this style, in the order of concepts."""
        rows = np.flatnonzero(self.style == self.styles.index(name))
        return rows[np.argsort(self.concept[rows], kind="stable")]


def package(spec: str) -> Path:
    """The unpacked package, fetched on first use."""
    folder = CACHE / spec.replace("/", "-").strip("@")
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ["npm", "pack", "--silent", spec], cwd=CACHE, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        with tarfile.open(CACHE / made) as archive:
            archive.extractall(folder.with_suffix(".part"), filter="data")
        folder.with_suffix(".part").rename(folder)
    return folder / "package"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(hexcode: str) -> str:
    """The code points without the variation selector, which the packages write or leave out as they like."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def concepts() -> tuple[Concept, ...]:
    """Every concept, in the order of its key; the same tenth of them is held out each time."""
    words = package(WORDS_PACKAGE)
    groups = _json(words / "meta" / "groups.json")
    codes = _json(words / "en" / "shortcodes" / "emojibase.json")
    foreign: dict[str, list[str]] = {}
    for language in OTHER_LANGUAGES:
        for entry in _json(words / language / "data.json"):
            foreign.setdefault(entry["hexcode"], []).append(entry["label"])
    entries = [
        entry for entry in _json(words / "en" / "data.json") if entry.get("group") not in (None, _COMPONENT_GROUP)
    ]
    entries.sort(key=lambda entry: str(entry["hexcode"]))
    held_out = set(
        np.random.default_rng(HELD_OUT_SEED).permutation(len(entries))[: int(len(entries) * HELD_OUT_SHARE)].tolist()
    )
    return tuple(
        Concept(
            key=_plain(entry["hexcode"]),
            label=entry["label"],
            names=_names(codes.get(entry["hexcode"], [])),
            tags=tuple(entry.get("tags", ())),
            kinds=tuple(
                groups[level][str(entry[field])].replace("-", " ")
                for level, field in (("groups", "group"), ("subgroups", "subgroup"))
            ),
            foreign=tuple(foreign.get(entry["hexcode"], ())),
            group=entry["group"],
            held_out=index in held_out,
        )
        for index, entry in enumerate(entries)
    )


def _names(codes: str | list[str]) -> tuple[str, ...]:
    return tuple(code.replace("_", " ") for code in ([codes] if isinstance(codes, str) else codes))


def _svgs(style: str, spec: str) -> dict[str, str]:
    """Plain code points to SVG text."""
    folder = package(spec)
    icons = _json(folder / "icons.json")
    # fluent-emoji carries no table of characters; its names are those of the flat variant
    chars = _json((package(TRAINING_STYLES["fluent-flat"]) if style == "fluent" else folder) / "chars.json")
    found = {}
    for code, name in chars.items():
        icon = icons["icons"].get(name) or icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent"))
        if icon:
            size = {key: icon.get(key, icons.get(key, 0)) for key in ("left", "top", "width", "height")}
            box = f"{size['left']} {size['top']} {size['width']} {size['height']}"
            found[_plain(code)] = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'
    return found


def _draw(svg: str, side: int) -> Images:
    """Premultiplied RGBA `[side, side, 4]`."""
    square = Image.new("RGBA", (side, side))
    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side)))) as image:
        square.paste(image.convert("RGBA"), ((side - image.width) // 2, (side - image.height) // 2))
    straight = np.asarray(square, dtype=np.uint16)
    premultiplied = straight.copy()
    premultiplied[..., :3] = (straight[..., :3] * straight[..., 3:] + 127) // 255
    return premultiplied.astype(np.uint8)


def _colour_name(pixels: Images) -> str:
    """The colour that covers more than 45 % of the drawing, or nothing."""
    solid = pixels[pixels[..., 3] > 200][:, :3]
    if len(solid) < 200:
        return ""
    hsv = np.asarray(Image.fromarray(solid[None], "RGB").convert("HSV"), dtype=np.int64)[0]
    hue, saturation, value = hsv[:, 0] * 360 // 255, hsv[:, 1], hsv[:, 2]
    edges = np.array([15, 42, 68, 165, 255, 290, 340])
    names = np.array(["red", "orange", "yellow", "green", "blue", "purple", "pink", "red"])[np.digitize(hue, edges)]
    names = np.where((names == "orange") & (value < 190), "brown", names)
    grey = saturation < 40
    names = np.where(grey & (value > 225), "white", np.where(grey, "grey", names))
    names = np.where(value < 60, "black", names)
    kinds, counts = np.unique(names, return_counts=True)
    return str(kinds[counts.argmax()]) if counts.max() > 0.45 * len(names) else ""


def _render(known: tuple[Concept, ...]) -> Iterator[tuple[str, int, Images]]:
    for style, spec in (*TRAINING_STYLES.items(), (HELD_OUT_STYLE, HELD_OUT_PACKAGE)):
        svgs = _svgs(style, spec)
        for index, concept in enumerate(known):
            if concept.key in svgs:
                yield style, index, _draw(svgs[concept.key], SIDE)


def on_white(style: str, known: tuple[Concept, ...], side: int) -> dict[int, Images]:
    """uint8 RGB `[side, side, 3]` by concept: a style as its drawings look in a folder of pictures."""
    file = CACHE / f"{style}-{side}.npz"
    if not file.exists():
        svgs = _svgs(style, {**TRAINING_STYLES, HELD_OUT_STYLE: HELD_OUT_PACKAGE}[style])
        drawn = {i: _draw(svgs[concept.key], side) for i, concept in enumerate(known) if concept.key in svgs}
        opaque = [pixels[..., :3] + (255 - pixels[..., 3:]) for pixels in drawn.values()]
        np.savez(file, index=np.array(list(drawn)), pixels=np.stack(opaque))
    with np.load(file) as stored:
        return dict(zip(stored["index"].tolist(), stored["pixels"], strict=True))


def drawings(known: tuple[Concept, ...]) -> Drawings:
    """All drawings of all styles, the held-out one included; rendered once, then read from the cache."""
    pixels_file, table_file = CACHE / "drawings.npy", CACHE / "drawings.json"
    if not table_file.exists():
        rows = list(_render(known))
        np.save(pixels_file, np.stack([pixels for _, _, pixels in rows]))
        table_file.write_text(json.dumps([[style, index, _colour_name(pixels)] for style, index, pixels in rows]))
    table = _json(table_file)
    styles = (*TRAINING_STYLES, HELD_OUT_STYLE)
    return Drawings(
        pixels=np.load(pixels_file),
        style=np.array([styles.index(style) for style, _, _ in table]),
        concept=np.array([index for _, index, _ in table]),
        colour=tuple(colour for _, _, colour in table),
        styles=styles,
    )


if __name__ == "__main__":
    everything = concepts()
    drawn = drawings(everything)
    print(
        len(everything), "concepts,", sum(c.held_out for c in everything), "held out;", drawn.pixels.shape, "drawings"
    )
