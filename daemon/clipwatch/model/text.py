"""The text tower: words → unit vectors in the space of the pictures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer

from clipwatch.config import ModelConfig
from clipwatch.errors import ConfigError, ModelError
from clipwatch.model.bundle import TextFacts
from clipwatch.model.contract import Matrix
from clipwatch.model.cores import usable_cores
from clipwatch.model.encoder import VisionEncoder, unit_rows
from clipwatch.model.engine import Array, Engine, float32
from clipwatch.model.files import ModelFiles, stamp
from clipwatch.model.graph import Port
from clipwatch.model.onnx import OnnxEngine
from clipwatch.model.weights import read_weights

DEFAULT_CONTEXT: Final = 77
"""Tokens that CLIP reads, its start and end included (OpenAI's clip/clip.py, `tokenize`)."""

_OUTPUTS: Final = ("text_embeds", "text_embeddings", "text_features", "embeddings", "pooler_output")
_INTEGERS: Final = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
_PAD_TOKENS: Final = ("<|endoftext|>", "<pad>", "[PAD]")
_EXPORT_HINT: Final = (
    "Export the text tower: input_ids [n, 77] → text_embeds [n, 512], as `clipwatch model convert` does."
)


class TextEncoder:
    """A text tower with its tokenizer. Order is kept; thread-safe."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, source: str, *, facts: TextFacts, prompt: str) -> None:
        """*facts* whose context and pad_id are known; *prompt* holds `{}` once. Raises `ModelError`."""
        names = [port.name for port in engine.inputs]
        unknown = set(names) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in names:
            raise ModelError(f"{source} takes {', '.join(names)}: it is no text tower.", hint=_EXPORT_HINT)
        self._dtypes = {port.name: _integer(port, source) for port in engine.inputs}
        self._output = _output(engine.outputs, source)
        self._engine = engine
        self._lock = threading.Lock()
        self._lowercase = facts.lowercase
        self._prompt = prompt
        self.context = facts.context or DEFAULT_CONTEXT
        if self.context < 3:
            raise ModelError(f"{source} reads {self.context} token(s): no room for a word.", hint=_EXPORT_HINT)
        pad_id = facts.pad_id or 0
        # Always the full length: SigLIP's towers were trained so, and CLIP's causal mask hides what follows the end.
        tokenizer.enable_truncation(self.context)
        tokenizer.enable_padding(length=self.context, pad_id=pad_id, pad_token=tokenizer.id_to_token(pad_id) or "[PAD]")
        self._tokenizer = tokenizer
        probe = self._raw(["a"])
        if probe.ndim != 2 or probe.shape[0] != 1:
            raise ModelError(f"{source} gives {list(probe.shape)} for one text, not [1, d].", hint=_EXPORT_HINT)
        self.width = int(probe.shape[1])

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Texts to float32 unit rows `[n, d]`.

        Each is put into the prompt, lower-cased where the model wants that, and cut at `context` tokens.
        Raises `ConfigError` for an empty text, `ModelError` where the model gives no usable vector.
        """
        cleaned = [" ".join(text.split()) for text in texts]
        if not all(cleaned):
            raise ConfigError("The text to search for is empty.")
        prompts = [self._prompt.replace("{}", text) for text in cleaned]
        with self._lock:
            # One at a time: a question is one or a few texts, and no shape but one ever reaches the session.
            rows = [self._raw([text.lower() if self._lowercase else text]) for text in prompts]
        if not rows:
            return np.empty((0, self.width), np.float32)
        vectors, good = unit_rows(np.concatenate(rows))
        if not good.all():
            raise ModelError("The text tower gave a vector that is zero or not finite.", hint="Fetch the model again.")
        return vectors

    def _raw(self, texts: Sequence[str]) -> Matrix:
        encodings = self._tokenizer.encode_batch(list(texts))
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feeds: dict[str, Array] = {name: np.array(columns[name], dtype) for name, dtype in self._dtypes.items()}
        return float32(self._engine.run(self._output, feeds))


def load_text_encoder(encoder: VisionEncoder, config: ModelConfig) -> TextEncoder:
    """The text tower that is the pair of *encoder*.

    Paired are the towers that one bundle.json names by their hashes; without one, those that lay in one folder when
    *encoder* was loaded. Raises `ModelError` where there is none, or one that is not its pair.
    """
    files = encoder.files
    facts = files.bundle.text if files.bundle else None
    if files.text is None and facts is None:
        raise ModelError(
            f"The model {encoder.name} has no text tower, so it cannot be searched by words.",
            hint="Search by a picture, or get a model with both towers with `clipwatch model fetch`.",
        )
    if files.text is None or files.tokenizer is None:
        missing = facts.file if facts and files.text is None else "tokenizer.json"
        raise ModelError(
            f"The text tower of {encoder.name} is not whole: {files.folder} has no {missing}.", hint=_AGAIN
        )
    weights = read_weights(files.text)
    if facts is not None and facts.sha256 != weights.sha256:
        raise ModelError(
            f"{files.text} is not the pair of the vision model {encoder.name} that is loaded.", hint=_AGAIN
        )
    if facts is None:
        _require_as_found(files, files.text)
    engine = OnnxEngine(weights, device="cpu", threads=config.threads or usable_cores())
    tokenizer = _tokenizer(files, files.tokenizer)
    facts = _facts(facts or TextFacts(files.text.name, weights.sha256), engine, tokenizer, files.folder)
    prompt = facts.template if config.prompt == "auto" else config.prompt
    text = TextEncoder(engine, tokenizer, str(files.text), facts=facts, prompt=prompt)
    if text.width != encoder.width:
        raise ModelError(
            f"{files.text} gives {text.width} numbers and {files.vision.name} {encoder.width}: they are not a pair.",
            hint=_AGAIN,
        )
    return text


_AGAIN: Final = "Fetch or convert the model again, and restart the daemon if it runs."


def _facts(facts: TextFacts, engine: Engine, tokenizer: Tokenizer, folder: Path) -> TextFacts:
    """What the bundle leaves open, from the graph, the tokenizer and `tokenizer_config.json`."""
    config = _json(folder / "tokenizer_config.json")
    fixed = next((port.shape[1] for port in engine.inputs if port.shape is not None and len(port.shape) == 2), None)
    context = fixed or facts.context or _context(config, tokenizer)
    pad_id = facts.pad_id
    if pad_id is None:
        pad_id = tokenizer.padding["pad_id"] if tokenizer.padding else _pad_id(config, tokenizer)
    return TextFacts(facts.file, facts.sha256, context, pad_id, facts.lowercase, facts.template)


def _context(config: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    stated = config.get("model_max_length")
    # Hugging Face writes 10^30 for "no limit known".
    if isinstance(stated, int) and 2 < stated <= 4096:
        return stated
    return int(tokenizer.truncation["max_length"]) if tokenizer.truncation else DEFAULT_CONTEXT


def _pad_id(config: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    stated = config.get("pad_token")
    token = stated.get("content") if isinstance(stated, dict) else stated
    candidates = [tokenizer.token_to_id(name) for name in (token, *_PAD_TOKENS) if isinstance(name, str)]
    return next((pad for pad in candidates if pad is not None), 0)


def _json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}.", hint=_AGAIN) from error
    return document if isinstance(document, dict) else {}


def _require_as_found(files: ModelFiles, file: Path) -> None:
    try:
        unchanged = stamp(file) == files.stamps.get(file)
    except OSError:
        unchanged = False
    if not unchanged:
        raise ModelError(f"{file} was changed since its vision model was loaded.", hint=_AGAIN)


def _tokenizer(files: ModelFiles, file: Path) -> Tokenizer:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.", hint=_AGAIN) from error
    recorded = files.bundle.recorded_sha256(file.name) if files.bundle else None
    if recorded is None:
        _require_as_found(files, file)
    elif hashlib.sha256(content).hexdigest() != recorded:
        raise ModelError(f"{file} is not the one that bundle.json beside it records.", hint=_AGAIN)
    try:
        return Tokenizer.from_str(content.decode())
    # The library raises bare Exception for whatever it does not like.
    except Exception as error:
        raise ModelError(f"{file} is not a tokenizer: {error}.", hint=_AGAIN) from error


def _integer(port: Port, source: str) -> str:
    if port.type not in _INTEGERS:
        raise ModelError(f"{source} takes {port.spelled()}; it must be int64.", hint=_EXPORT_HINT)
    return _INTEGERS[port.type]


def _output(outputs: Sequence[Port], source: str) -> str:
    names = [port.name for port in outputs]
    for name in _OUTPUTS:
        if name in names:
            return name
    if len(names) != 1:
        raise ModelError(
            f"{source} has several outputs and none is text_embeds: {', '.join(names)}.", hint=_EXPORT_HINT
        )
    return names[0]
