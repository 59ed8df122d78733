"""CLIP's PyTorch weights in Hugging Face layout → a bundle in ONNX, compared with the original before it counts.

PyTorch and transformers are the extra `clipwatch[convert]`: they are imported when a conversion begins, and the daemon
never needs them.
"""

from __future__ import annotations

import importlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clipwatch.errors import ModelError
from clipwatch.model.bundle import Bundle, KnownAnswer, TextFacts
from clipwatch.model.encoder import unit_rows
from clipwatch.model.hub import use_our_client
from clipwatch.model.install import install, staging_folder
from clipwatch.model.known_answer import MARGIN, rivals, square_pixels
from clipwatch.model.photographs import photographs
from clipwatch.model.preprocessor import read_preprocessing
from clipwatch.records import Preprocessing

CLASSIC: Final = "openai/clip-vit-base-patch32"
OUTPUTS: Final = ("image_embeds", "tokens")
MIN_COSINE: Final = 0.9999
"""float32 against float32 differs by rounding: 0.999999 and better. Below this something was lost on the way."""
OPSET: Final = 17
SENTENCES: Final = ("a photo of a cat", "red", "two people walk along the beach at sunset, seen from far above")
VISION, TEXT, TOKENIZER, PREPROCESSOR = (
    "clip_vision.onnx",
    "clip_text.onnx",
    "tokenizer.json",
    "preprocessor_config.json",
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it. *cosine*: the worst over all pictures and sentences, ONNX against PyTorch."""

    vision: Path
    width: int
    pictures: int
    cosine: float


def convert(
    source: str,
    directory: Path,
    *,
    output: str = "image_embeds",
    pictures: Sequence[Path] = (),
    force: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> Conversion:
    """Write `clip_vision.onnx`, `clip_text.onnx` and what belongs to them into *directory*, whole or not at all.

    *source*: a folder or a repository of the hub with a CLIP model. *output*: "image_embeds" `[n, d]`, or "tokens"
    `[n, 1 + patches, d]`, each projected, to be averaged. Both towers take any batch. *pictures* are what the towers
    are compared on, beside the photographs that ship. An existing model is replaced only with *force*. Raises
    `ModelError`.
    """
    if output not in OUTPUTS:
        raise ModelError(f"There is no output {output!r}.", hint=f"Choose {' or '.join(OUTPUTS)}.")
    if (directory / VISION).exists() and not force:
        raise ModelError(f"{directory / VISION} is already there.", hint="Move it away, or convert with --force.")
    torch, transformers = _extra("torch"), _extra("transformers")
    _extra("onnx")
    use_our_client()
    say(f"Loading {source} …")
    model = _load(transformers, source)
    answers = photographs()
    with _emptied(directory) as staging:
        staged = {name: staging / name for name in (VISION, TEXT, TOKENIZER, PREPROCESSOR)}
        _write_neighbours(transformers, source, staged)
        preprocessing = read_preprocessing(staged[PREPROCESSOR], model_side=int(model.config.vision_config.image_size))
        pixels = _pixels(pictures, answers, preprocessing)
        tokens = _tokens(staged[TOKENIZER], model, [*SENTENCES, *(answer.text for answer in answers)])
        towers = _towers(torch, model, output)
        say("Exporting both towers …")
        for name, tower, example in ((VISION, towers[0], pixels[:2]), (TEXT, towers[1], tokens)):
            _export(torch, tower, example, staged[name], output if name == VISION else "text_embeds")
        say(f"Comparing on {len(pixels)} pictures …")
        seen, read = _run(torch, towers[0], pixels), _run(torch, towers[1], tokens)
        cosine = min(agreement(staged[VISION], pixels, seen), agreement(staged[TEXT], tokens, read))
        known = known_to(answers, seen[-len(answers) :], read[-len(answers) :])
        bundle = _bundle(source, model, output, cosine, known)
        return Conversion(install(staged, directory, bundle), int(model.config.projection_dim), len(pixels), cosine)


@contextmanager
def _emptied(directory: Path) -> Iterator[Path]:
    """A staging folder without leftovers of a conversion that was killed, nor of this one."""
    try:
        with staging_folder(directory, "convert") as staging:
            try:
                for leftover in staging.iterdir():
                    leftover.unlink()
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"Nothing can be written into {directory}: {error.strerror or error}.",
            hint="Free some space, or choose another folder.",
        ) from error


def agreement(exported: Path, inputs: Array, reference: Array) -> float:
    """The lowest cosine between the rows that *exported* makes of *inputs* and *reference*, which PyTorch made.

    Run as one batch and one by one, since a daemon does both; sequences are averaged first. Raises `ModelError`
    below `MIN_COSINE`, and where a row is not finite.
    """
    try:
        session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        together = session.run(None, {name: inputs})[0]
        alone = [session.run(None, {name: inputs[i : i + 1]})[0] for i in range(len(inputs))]
    except Exception as error:
        raise ModelError(
            f"The exported {exported.name} does not run: {str(error).splitlines()[0]}.",
            hint="Use the versions of torch and transformers that the documentation names.",
        ) from error
    lowest = min(lowest_cosine(np.asarray(rows), reference) for rows in (together, np.concatenate(alone)))
    if not lowest >= MIN_COSINE:
        raise ModelError(
            f"The exported {exported.name} gives other vectors than PyTorch: cosine {lowest:.6f}, below {MIN_COSINE}.",
            hint="Nothing was written. Use the versions of torch and transformers that the documentation names.",
        )
    return lowest


def lowest_cosine(rows: Array, reference: Array) -> float:
    """Row by row over `[n, d]` or, averaged over its middle axis, `[n, seq, d]`; NaN where a row is no direction."""
    if rows.shape != reference.shape:
        return float("nan")
    a, b = (
        array.astype(np.float64).reshape(len(array), -1, array.shape[-1]).mean(axis=1) for array in (rows, reference)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(cosines.min())


def known_to(answers: Sequence[KnownAnswer], seen: Array, read: Array) -> tuple[KnownAnswer, ...]:
    """Those that the original model itself ranks right, with room to spare; none where that leaves no choice.

    *seen*, *read*: what it makes of their pictures and words; sequences are averaged first.
    """
    pictures, words = (unit_rows(rows.reshape(len(rows), -1, rows.shape[-1]).mean(axis=1))[0] for rows in (seen, read))
    rivalled = rivals(pictures, words, answers, 2 * MARGIN)
    kept = tuple(answer for answer, rival in zip(answers, rivalled, strict=True) if rival is None)
    return kept if len(kept) > 1 else ()


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"Converting needs {name}, which is not installed.", hint="Install it: pip install 'clipwatch[convert]'."
        ) from error


def _load(transformers: Any, source: str) -> Any:
    """The whole CLIP model, float32, on the CPU, with attention that exports without loss of the causal mask."""
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        if config.model_type != "clip":
            raise ModelError(f"{source} is a {config.model_type} model, not CLIP.", hint=f"Convert one like {CLASSIC}.")
        model = transformers.CLIPModel.from_pretrained(source, attn_implementation="eager", dtype="float32")
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{source} cannot be loaded: {str(error).strip().splitlines()[0]}",
            hint="Name a folder with config.json and model.safetensors, or a repository of the hub; for a private one "
            "set HF_TOKEN.",
        ) from error
    return model.eval()


def _towers(torch: Any, model: Any, output: str) -> tuple[Any, Any]:
    """Vision and text tower with their projections, as modules of one input and one output."""

    class Vision(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tower, self.projection = model.vision_model, model.visual_projection

        def forward(self, pixel_values: Any) -> Any:
            seen = self.tower(pixel_values=pixel_values)
            if output == "tokens":
                return self.projection(self.tower.post_layernorm(seen.last_hidden_state))
            return self.projection(seen.pooler_output)

    class Text(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tower, self.projection = model.text_model, model.text_projection

        def forward(self, input_ids: Any) -> Any:
            # No attention mask: the causal one hides the padding from the end mark, where the vector is taken.
            return self.projection(self.tower(input_ids=input_ids).pooler_output)

    return Vision().eval(), Text().eval()


def _export(torch: Any, tower: Any, example: Array, path: Path, output: str) -> None:
    name = "pixel_values" if example.ndim == 4 else "input_ids"
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns about sizes that are indeed constant, and about its own retirement.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower,
            (torch.from_numpy(example),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[name],
            output_names=[output],
            dynamic_axes={name: {0: "batch"}, output: {0: "batch"}},
        )


def _run(torch: Any, tower: Any, inputs: Array) -> Array:
    with torch.no_grad():
        return np.asarray(tower(torch.from_numpy(inputs)).numpy())


def _pixels(paths: Sequence[Path], answers: Sequence[KnownAnswer], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """`[n, 3, side, side]`, as the model wants them: the given pictures, and last those of *answers*."""
    side = preprocessing.side
    pictures = [*(_opened(path, side) for path in paths), *(square_pixels(answer, side) for answer in answers)]
    scaled = (np.stack(pictures).astype(np.float32) * preprocessing.rescale - preprocessing.mean) / preprocessing.std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def _opened(path: Path, side: int) -> Array:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ModelError(f"{path} cannot be read as a picture.", hint="Compare on JPEG or PNG files.") from error


def _write_neighbours(transformers: Any, source: str, staged: dict[str, Path]) -> None:
    """`tokenizer.json` and `preprocessor_config.json`: the model's own bytes where it has them."""
    find = importlib.import_module("transformers.utils").cached_file
    try:
        for name in (TOKENIZER, PREPROCESSOR):
            found = find(source, name, _raise_exceptions_for_missing_entries=False)
            if found is not None:
                shutil.copyfile(found, staged[name])
        if not staged[TOKENIZER].exists():
            transformers.AutoTokenizer.from_pretrained(source).backend_tokenizer.save(str(staged[TOKENIZER]))
        if not staged[PREPROCESSOR].exists():
            usual = transformers.CLIPImageProcessor().to_dict()
            plain = {
                key: value for key, value in usual.items() if isinstance(value, (bool, int, float, str, list, dict))
            }
            staged[PREPROCESSOR].write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{source} lacks its tokenizer: {str(error).strip().splitlines()[0]}",
            hint="Put tokenizer.json, or vocab.json and merges.txt, beside the weights.",
        ) from error


def _tokens(tokenizer_file: Path, model: Any, sentences: Sequence[str]) -> NDArray[np.int64]:
    """*sentences* as `[n, context]`, filled up as CLIP's processor does."""
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(tokenizer_file))
    context, end = _context(model), _end(model)
    tokenizer.enable_truncation(context)
    tokenizer.enable_padding(length=context, pad_id=end)
    ids = np.array([tokenizer.encode(sentence).ids for sentence in sentences], np.int64)
    vocabulary = int(model.config.text_config.vocab_size)
    if ids.max() >= vocabulary:
        raise ModelError(
            f"tokenizer.json knows more words than the text tower, which has {vocabulary}.",
            hint="Use the tokenizer that came with these weights.",
        )
    return ids


def _context(model: Any) -> int:
    return int(model.config.text_config.max_position_embeddings)


def _end(model: Any) -> int:
    """The id of the end mark, which also fills up; OpenAI's oldest configurations say 2 and mean the last word."""
    end = int(model.config.text_config.eos_token_id)
    return int(model.config.text_config.vocab_size) - 1 if end == 2 else end


def _bundle(source: str, model: Any, output: str, cosine: float, known: tuple[KnownAnswer, ...]) -> Bundle:
    local = Path(source).is_dir()
    return Bundle(
        name=Path(source).resolve().name if local else source.rpartition("/")[2],
        demonstration=False,
        vision_file=VISION,
        vision_sha256="",
        text=TextFacts(file=TEXT, sha256="", context=_context(model), pad_id=_end(model)),
        card={
            "repository": "" if local else source,
            "revision": getattr(model.config, "_commit_hash", None) or "",
            "width": int(model.config.projection_dim),
            "output": output,
            "cosine": round(cosine, 8),
        },
        known_answers=known,
    )
