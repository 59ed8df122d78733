"""`clipwatch model`: list, fetch, info, convert, optimize."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context, opened
from clipwatch.config import ModelConfig
from clipwatch.errors import ConfigError, FileRejected


def main(arguments: argparse.Namespace, context: Context) -> int:
    """One of the actions."""
    action = {"list": _list, "fetch": _fetch, "info": _info, "convert": _convert, "optimize": _optimize}
    return action[arguments.action](arguments, context)


def _list(_arguments: argparse.Namespace, context: Context) -> int:
    from clipwatch.model.cards import CARDS

    facts = [
        {
            "name": card.name,
            "title": card.title,
            "width": card.width,
            "side": card.side,
            "megabytes": round(card.size_bytes / 1e6),
            "licence": card.licence,
            "repository": card.repository,
            "revision": card.revision,
            "summary": card.summary,
        }
        for card in CARDS
    ]
    if context.json:
        print_json({"models": facts})
        return 0
    for card in facts:
        print(f"{card['name']}: {card['title']}, {card['width']} wide, {card['megabytes']} MB, {card['licence']}")
        print(f"    {card['summary']}")
    return 0


def _fetch(arguments: argparse.Namespace, context: Context) -> int:
    from clipwatch.model.cards import card_named
    from clipwatch.model.fetch import fetch, fetch_or_give_up, setting

    card = card_named(arguments.name)
    directory = Path(arguments.directory or beside_the_default(context.config.model.path))
    limit = arguments.give_up_seconds
    with _Bars(shown=sys.stderr.isatty() and not context.json) as bars:
        if limit is None:
            vision = fetch(card, directory, progress=bars.tell)
        else:
            vision = fetch_or_give_up(card, directory, give_up_seconds=limit, progress=bars.tell)
    if context.json:
        print_json({"name": card.name, "path": str(vision), "revision": card.revision})
    else:
        print(f"{card.title} is at {vision}.")
        if str(vision) != context.config.model.path:
            print(f"To use it, write into the configuration:\n\n{setting(vision)}\n")
    return 0


def beside_the_default(configured: str) -> Path:
    """Where models lie: a service's file has the default one below the service's own directory."""
    usual, path = Path(ModelConfig().path), Path(configured)
    return path.parent if path.parts[-2:] == usual.parts else usual.parent


class _Bars:
    """One progress bar a file, on a terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> _Bars:  # noqa: PYI034 - private
        return self

    def tell(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of *total*."""
        if not self._shown:
            return
        if name not in self._bars:
            from tqdm import tqdm

            self._bars[name] = tqdm(desc=name, total=total, unit="B", unit_scale=True, dynamic_ncols=True)
        bar = self._bars[name]
        bar.n = done
        bar.refresh()

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()


def _info(arguments: argparse.Namespace, context: Context) -> int:
    from clipwatch.model.load import load_encoder
    from clipwatch.service.status import describe_model

    config = context.config.model
    if arguments.file is not None:
        config = dataclasses.replace(config, path=arguments.file)
    explicit = arguments.file is not None or context.loaded.chosen("model.path")
    encoder = load_encoder(config, batch_size=context.config.batch.size, logger=context.logger, explicit_path=explicit)
    facts = {
        **describe_model(encoder),
        "preprocessing": dataclasses.asdict(encoder.preprocessing),
        "text": encoder.files.text is not None,
    }
    if context.json:
        print_json(facts)
        return 0
    for key, value in facts.items():
        print(f"{key:<14} {value}")
    return 0


def _convert(arguments: argparse.Namespace, context: Context) -> int:
    from clipwatch.model.convert import convert

    done = convert(
        arguments.source,
        Path(arguments.directory),
        output="tokens" if arguments.output == "tokens" else "image_embeds",
        pictures=[Path(picture) for picture in arguments.pictures],
        force=arguments.force,
        say=lambda line: print(line, file=sys.stderr),
    )
    facts = {"path": str(done.vision), "width": done.width, "pictures": done.pictures, "cosine": done.cosine}
    if context.json:
        print_json(facts)
    else:
        print(f"Wrote {done.vision}; PyTorch and ONNX agree to cosine {done.cosine:.7f} on {done.pictures} pictures.")
    return 0


def _optimize(arguments: argparse.Namespace, context: Context) -> int:
    from clipwatch.model.fidelity import GATE, LEAST_ALLOWED
    from clipwatch.model.optimize import optimize

    allow = GATE if arguments.allow is None else arguments.allow
    if not LEAST_ALLOWED <= allow <= 1:
        raise ConfigError(
            f"--allow must lie between {LEAST_ALLOWED:g} and 1, not {allow:g}.",
            hint="With vectors further off, answers are another model's.",
        )
    folder = Path(arguments.images or context.config.watch[0].path)
    with opened(context, give_up_seconds=0) as parts:
        pictures = list(_pictures(folder, parts))
    report = optimize(
        context.config.model,
        pictures,
        batch_size=context.config.batch.size,
        clock=context.clock,
        explicit_path=context.loaded.chosen("model.path"),
        switch=arguments.use or "",
        allow=allow,
    )
    if context.json:
        print_json(report.as_json())
        return 0
    print(f"{report.model}, on {report.pictures} pictures of {folder}:")
    print(f"{'variant':<10} {'images/s':>9} {'cosine mean':>12} {'min':>9} {'MB':>7}")
    for row in report.rows:
        figures = f"{row.images_per_second:9.1f} {row.cosine_mean:12.6f} {row.cosine_min:9.6f}"
        print(f"{row.variant:<10} {row.note or figures + f' {row.size_bytes / 1e6:7.1f}'}")
    print(f"In force from the next start: {report.chosen}.")
    return 0


MOST_PICTURES = 200
"""Enough to measure with; more only takes longer."""


def _pictures(folder: Path, parts: Any) -> Iterator[Any]:
    """The first pictures below *folder* that can be decoded, as the model wants them."""
    import os

    from clipwatch.folder.opened import restat
    from clipwatch.records import Candidate, DecodedImage, OpenedFile, Reason

    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder} to take pictures from.", hint="Name one with --images DIR.")
    decoder = parts.query_decoder()
    taken = 0
    for file in sorted(folder.rglob("*")):
        if taken >= MOST_PICTURES:
            return
        if not file.is_file() or file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            continue
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        candidate = Candidate("", os.fsencode(file), restat(descriptor), Reason.NEW)
        try:
            image = decoder.submit(OpenedFile(candidate, descriptor)).result()
        except FileRejected:
            continue
        if isinstance(image, DecodedImage):
            taken += 1
            yield image.pixels
