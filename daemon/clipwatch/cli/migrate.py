"""`clipwatch migrate`: the collection into another store, without inference."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context, opened, quiet_libraries
from clipwatch.config import StoreConfig, is_server, server_address
from clipwatch.config_file import api_key, check_places, check_store
from clipwatch.errors import ConfigError
from clipwatch.service.state import state_lock
from clipwatch.system_paths import expanded

if TYPE_CHECKING:
    from clipwatch.store.copy import Copied


def main(arguments: argparse.Namespace, context: Context) -> int:
    """Copies, counts, and says what to set; 1 where something is missing in the target."""
    source = context.config.store
    target = target_config(source, arguments.to, arguments.collection, arguments.api_key_file)
    check_places(replace(context.config, store=target), store="--to")
    directory = Path(source.url.removeprefix("embedded:"))
    if not is_server(source.url) and not directory.exists():
        raise ConfigError(
            f"There is no store {directory} to copy.", hint="Correct store.url, or start the daemon first."
        )
    quiet_libraries(context.logger)
    # A daemon would go on writing to the source, and so would another copy.
    with state_lock(context.state):
        result = _copy(context, target)
    if context.json:
        print_json(asdict(result))
    else:
        print(f"{result.points} points: {result.copied} copied, {result.present} were there, {result.refused} refused.")
        if result.exact:
            where = "" if target.collection == source.collection else f' and store.collection to "{target.collection}"'
            print(f'Both have the same counts. Next: set store.url to "{target.url}"{where}; the old one is as it was.')
        else:
            print("The counts differ: migrate again, or look at the target with `clipwatch export`.")
    return 0 if result.exact else 1


def target_config(source: StoreConfig, url: str, collection: str | None, api_key_file: str | None) -> StoreConfig:
    """The store to copy into: like *source* but for where it is and who may enter. Raises `ConfigError`."""
    target = replace(
        source,
        url=expanded(url),
        collection=collection or source.collection,
        api_key="",
        api_key_file=api_key_file or "",
        embedded_listen="",
    )
    check_store(target, {})
    if (_place(target), target.collection) == (_place(source), source.collection):
        raise ConfigError("The target is the store that is in use.", hint="Name another --to or another --collection.")
    if _place(target) == _place(source) and target.url.startswith("embedded:"):
        raise ConfigError(
            "Two collections of one embedded store cannot be copied into each other.",
            hint="Name another directory with --to.",
        )
    return target


def _place(store: StoreConfig) -> str:
    directory = store.url.removeprefix("embedded:")
    return str(Path(directory).resolve()) if directory != store.url else server_address(store.url)


def _copy(context: Context, target: StoreConfig) -> Copied:
    from clipwatch.store.copy import copy_points
    from clipwatch.store.open import open_store
    from clipwatch.store.owners import Owners
    from clipwatch.store.retry import RetryingStore

    seconds = context.config.store.timeout_seconds
    stop = threading.Event()
    with opened(context, stop=stop, give_up_seconds=seconds) as parts:
        source = parts.store
        inner = open_store(target, api_key=api_key(target, {}), runtime=context.state, logger=context.logger)
        store = RetryingStore(
            inner,
            stop=stop,
            clock=context.clock,
            logger=context.logger,
            give_up_seconds=seconds,
            on_state=lambda _available, _reason: None,
        )
        owners = Owners(
            inner,
            state=context.state,
            watches=lambda: context.config.watch,
            now=lambda: context.clock.now().timestamp(),
            logger=context.logger,
        )
        try:
            for folder in source.folders():
                store.attempt("owner", partial(owners.check, folder, "Name another --collection."))
            return copy_points(source, store, _progress(source.count()))
        finally:
            store.close()


def _progress(total: int) -> Callable[[int], None]:
    if not sys.stderr.isatty():
        return lambda _: None
    from tqdm import tqdm

    bar = tqdm(total=total, unit="points", leave=False)

    def show(done: int) -> None:
        bar.update(done - bar.n)

    return show
