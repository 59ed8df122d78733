"""Trains the two towers together and writes checkpoints; `--resume` goes on from the last one.

    python models/train/train.py            # everything at its default: the model that ships

The model learns on one thread and a second process prepares its batches: threads that wait for one another lose far
more than they gain on a machine that does other work too. Batches follow from the seed and the step alone, so that
`--resume` changes nothing. A second training on the same kind of processor with the same torch gives nearly the same
model; equal bytes are not promised.
"""

from __future__ import annotations

import argparse
import copy
import math
import multiprocessing
import random
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Full

import numpy as np
import torch
import torch.multiprocessing
from augment import augmented, plain
from drawings import CACHE, Concept, Drawings, concepts, drawings
from phrases import any_phrase, corpus, phrase, spoken, train_tokenizer
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from towers import Both

OUT = Path(__file__).parent / "out"
BATCH = 256
PEAK_RATE = 2e-3
WARMUP = 200
DECAY = 0.05
TRAINED_TOKENS = 24
PHASES = ((64, 0.80), (112, 0.20))
"""Side in pixels and share of the steps: small ones first, since they cost half; the shipped tower sees the last."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The training drawings: `rows[i]` are those of the concept `known[i]`, `large` and `small` are their pixels."""

    known: tuple[Concept, ...]
    rows: tuple[tuple[int, ...], ...]
    large: Tensor
    small: Tensor
    colour: tuple[str, ...]


def pool(everything: tuple[Concept, ...], drawn: Drawings) -> Pool:
    """Only concepts and styles that are not held out."""
    held_out_style = len(drawn.styles) - 1
    rows: dict[int, list[int]] = {}
    keep = [
        row
        for row in range(len(drawn.pixels))
        if drawn.style[row] != held_out_style and not everything[drawn.concept[row]].held_out
    ]
    for place, row in enumerate(keep):
        rows.setdefault(int(drawn.concept[row]), []).append(place)
    large = torch.from_numpy(drawn.pixels[keep]).permute(0, 3, 1, 2).contiguous()
    small = torch.cat(
        [functional.avg_pool2d(part.float(), 2).round().to(torch.uint8) for part in torch.split(large, 512)]
    )
    return Pool(
        tuple(everything[index] for index in rows),
        tuple(tuple(places) for places in rows.values()),
        large,
        small,
        tuple(drawn.colour[row] for row in keep),
    )


def ids_of(tokenizer: Tokenizer, texts: list[str], limit: int = TRAINED_TOKENS) -> Tensor:
    """Token ids `[n, l]`, padded to the longest and cut at `limit`."""
    return torch.tensor([encoding.ids[:limit] for encoding in tokenizer.encode_batch(texts)])


def contrast(one: Tensor, other: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE over unit rows: each row's partner is the one at its own place."""
    scores = scale * one @ other.T
    own = torch.arange(len(one))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def loss_of(model: Both, pictures: Tensor, ids: tuple[Tensor, Tensor], chosen: Tensor) -> Tensor:
    """Picture beside text for two views of each concept, view beside view, and each beside its concept's direction."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = model.vision(pictures.to(memory_format=torch.channels_last))
        texts = [model.text(part) for part in ids]
    first, second = functional.normalize(images.float(), dim=-1).chunk(2)
    one, other = (functional.normalize(text.float(), dim=-1) for text in texts)
    scale = model.scale
    directions = functional.normalize(model.directions.weight, dim=-1)
    everyone = torch.cat([first, second, one, other])
    named = functional.cross_entropy(20 * everyone @ directions.T, chosen.repeat(4), label_smoothing=0.05)
    paired = contrast(first, one, scale) + contrast(second, other, scale)
    return paired / 2 + contrast(first, second, scale) / 2 + named / 2


def rate_at(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def side_at(step: int, steps: int) -> int:
    """Side in pixels of the pictures of this step."""
    done = 0.0
    for side, share in PHASES:
        done += share
        if step < done * steps:
            return side
    return PHASES[-1][0]


Batch = tuple[Tensor, tuple[Tensor, Tensor], Tensor]
"""Pictures of two views, token ids of two phrases, and the places of the concepts."""


def batch_at(step: int, steps: int, seed: int, data: Pool, tokenizer: Tokenizer) -> Batch:
    """The batch of one step; it depends on nothing but the seed and the step."""
    dice, words = torch.Generator().manual_seed(seed * 1_000_003 + step), random.Random(f"{seed} {step}")
    chosen = torch.randperm(len(data.known), generator=dice)[:BATCH]
    places: tuple[list[int], list[int]] = ([], [])
    texts: tuple[list[str], list[str]] = ([], [])
    for index in chosen.tolist():
        rows = data.rows[index]
        pair = words.sample(rows, 2) if len(rows) > 1 else [rows[0]] * 2
        for view, (place, say) in enumerate(zip(pair, (phrase, any_phrase), strict=True)):
            places[view].append(place)
            texts[view].append(say(data.known[index], data.colour[place], words))
    side = side_at(step, steps)
    flips = torch.tensor([data.known[index].may_flip for index in chosen.tolist()]).repeat(2)
    source = data.small if side <= 64 else data.large
    pictures = augmented(source[places[0] + places[1]], flips, side, dice)
    return pictures, (ids_of(tokenizer, texts[0]), ids_of(tokenizer, texts[1])), chosen


def prepare(queue: Queue[Batch], first: int, steps: int, seed: int, tokenizer_file: Path) -> None:
    """The life of the second process: makes the batches in order, and ends with its parent."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("prepare runs in a child process")
    everything = concepts()
    data, tokenizer = pool(everything, drawings(everything)), Tokenizer.from_file(str(tokenizer_file))
    for step in range(first, steps):
        made = batch_at(step, steps, seed, data, tokenizer)
        while parent.is_alive():
            try:
                queue.put(made, timeout=5)
                break
            except Full:
                continue
        else:
            return
    # tensors still in the queue live in this process
    parent.join()


class Trainer:
    """Model, average of its weights and optimiser; all of it goes into a checkpoint."""

    def __init__(self, vocabulary: int, concepts: int, seed: int, steps: int) -> None:
        torch.manual_seed(seed)
        self.steps, self.step = steps, 0
        self.model = Both(vocabulary, concepts)
        # the stubs of torch leave memory_format out
        self.model.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
            lr=PEAK_RATE,
            betas=(0.9, 0.98),
        )

    def advance(self, batch: Batch) -> float:
        """One step; gives the loss."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = PEAK_RATE * rate_at(self.step, self.steps)
        loss = loss_of(self.model, *batch)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(0.995, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)
        return float(loss.detach())

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "steps": self.steps,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


@torch.no_grad()
def glance(model: Both, tokenizer: Tokenizer, everything: tuple[Concept, ...], drawn: Drawings, side: int) -> str:
    """Recall@1/5/10 of the held-out style by name, among trained and among held-out concepts: for the log alone."""
    rows = drawn.of_style(drawn.styles[-1])
    lines = []
    for held_out in (False, True):
        part = [row for row in rows.tolist() if everything[drawn.concept[row]].held_out is held_out]
        pixels = torch.from_numpy(drawn.pixels[part]).permute(0, 3, 1, 2)
        images = torch.cat([model.vision(plain(piece, side)) for piece in torch.split(pixels, 128)])
        names = [spoken(everything[drawn.concept[row]].label) for row in part]
        texts = functional.normalize(model.text(ids_of(tokenizer, names)), dim=-1)
        scores = texts @ functional.normalize(images, dim=-1).T
        places = (scores > scores.diag()[:, None]).sum(1)
        lines.append(
            "/".join(f"{100 * float((places < k).float().mean()):.1f}" for k in (1, 5, 10)) + f" of {len(part)}"
        )
    return f"trained {lines[0]}; held out {lines[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    everything = concepts()
    drawn = drawings(everything)
    data = pool(everything, drawn)
    tokenizer_file = OUT / "tokenizer.json"
    if not tokenizer_file.exists():
        train_tokenizer(corpus(data.known)).save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    trainer = Trainer(tokenizer.get_vocab_size(), len(data.known), chosen.seed, chosen.steps)
    if chosen.resume:
        trainer.load(OUT / "checkpoint.pt")
    print(
        len(data.known), "concepts,", len(data.large), "drawings; parameters:",
        {name: sum(p.numel() for p in part.parameters()) for name, part in trainer.model.named_children()},
        f"cache {CACHE}", flush=True,
    )  # fmt: skip
    spawn = torch.multiprocessing.get_context("spawn")
    batches = spawn.Queue(maxsize=4)
    settings = (batches, trainer.step, chosen.steps, chosen.seed, tokenizer_file)
    spawn.Process(target=prepare, args=settings, daemon=True).start()
    began, lately = time.monotonic(), 0.0
    while trainer.step < chosen.steps:
        loss = trainer.advance(batches.get())
        lately = loss if lately == 0 else 0.98 * lately + 0.02 * loss
        if trainer.step % 25 == 0:
            print(
                f"{trainer.step} loss {lately:.3f} scale {float(trainer.model.scale.detach()):.1f}",
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
        if trainer.step % 200 == 0 or trainer.step == chosen.steps:
            trainer.save(OUT / "checkpoint.pt")
            side = side_at(trainer.step - 1, chosen.steps)
            print(
                f"{trainer.step} at {side}: {glance(trainer.average, tokenizer, everything, drawn, side)}", flush=True
            )


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
