"""Downloads a model that has a card: resumed, verified, and put into place whole.

`huggingface_hub` finds the file, brings the login and names the errors. The bytes are streamed here,
because its own download keeps nothing of a file that breaks off half-way.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from huggingface_hub import get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from clipwatch.config_example import toml_value
from clipwatch.errors import ModelError, ModelUnavailable
from clipwatch.model.bundle import Bundle, TextFacts, file_sha256
from clipwatch.model.cards import CardFile, ModelCard
from clipwatch.model.hub import use_our_client
from clipwatch.model.install import install, installed, staging_folder
from clipwatch.model.photographs import photographs

HUB: Final = "https://huggingface.co"
SPARE_BYTES: Final = 64 * 2**20
"""Left free on the disk after a download."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's local name, the bytes that are here, and all of them (None: unknown)."""

_RESUME: Final = "What came so far is kept: the same command goes on from there."


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file on the hub. *checksum*: ("sha256" of the content or "git", its blob SHA-1; hex)."""

    file: CardFile
    url: str
    size_bytes: int | None
    checksum: tuple[str, str]


def fetch(
    card: ModelCard,
    directory: Path,
    *,
    progress: Progress = lambda _name, _done, _total: None,
    endpoint: str | None = None,
    offline: bool | None = None,
    timeout_seconds: float = 30.0,
) -> Path:
    """Download *card* below the models folder *directory*; the path of its vision tower.

    Nothing is asked of the network where the model is already here and whole. *timeout_seconds* is for one
    answer of the hub, not for all. *endpoint* and *offline*: `HF_ENDPOINT`, `HF_HUB_OFFLINE` where None.
    Raises `ModelError` with the cure, `ConfigError` for a proxy that cannot be used, `LockHeld` where another fetch
    of this model is under way. `ModelUnavailable`: there is no network, or the hub has trouble.
    """
    endpoint = _endpoint(endpoint)
    target = directory / card.folder
    vision = target / card.vision
    if vision.exists():
        if _holds(card, target):
            return vision
        raise ModelError(
            f"{vision} is already there and is not {card.title}, or is damaged.",
            hint="Nothing of yours is overwritten: fetch into another --directory, or move that one away.",
        )
    if _offline(offline):
        raise ModelError(
            f"{card.title} is not here, and HF_HUB_OFFLINE forbids to fetch it.",
            hint="Unset HF_HUB_OFFLINE, or copy the folder from a machine that has it.",
        )
    use_our_client()
    with _translated(card, endpoint), staging_folder(directory, f"fetch-{card.name}") as staging:
        revision, wanted = _look_up(card, endpoint, timeout_seconds)
        parts = {item.file.name: staging / f"{item.file.name}.{item.checksum[1][:16]}.part" for item in wanted}
        _take_over(wanted, target, parts)
        _check_space(wanted, parts, staging)
        for item in wanted:
            _obtain(item, parts[item.file.name], progress, timeout_seconds)
        install(parts, target, _bundle(card, revision))
        shutil.rmtree(staging, ignore_errors=True)
    return vision


def fetch_or_give_up(
    card: ModelCard,
    directory: Path,
    *,
    give_up_seconds: float,
    progress: Progress = lambda _name, _done, _total: None,
    endpoint: str | None = None,
) -> Path:
    """As `fetch`, but `ModelUnavailable` where not a byte has come after *give_up_seconds*, whatever hangs."""
    begun = threading.Event()
    outcome: Future[Path] = Future()
    had: dict[str, int] = {}

    def tell(name: str, done: int, total: int | None) -> None:
        if done > had.setdefault(name, done):
            begun.set()
        progress(name, done, total)

    def work() -> None:
        try:
            # An answer has twice the time, so that the wait below, which also bounds the look-up of a name, ends first.
            seconds = 2 * give_up_seconds
            outcome.set_result(fetch(card, directory, progress=tell, endpoint=endpoint, timeout_seconds=seconds))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome.set_exception(error)
        begun.set()

    # In a thread of its own: looking up a name heeds no time limit, and each answer has one of its own.
    threading.Thread(target=work, name="fetch", daemon=True).start()
    if not begun.wait(give_up_seconds):
        raise ModelUnavailable(
            f"The hub did not answer within {give_up_seconds:g} s.",
            hint="Fetch when there is a network, or see docs/models.md.",
        )
    return outcome.result()


def setting(vision: Path) -> str:
    """What to write into the configuration to use the model at *vision*."""
    return f"[model]\npath = {toml_value(str(vision))}"


def _endpoint(endpoint: str | None) -> str:
    return (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _offline(offline: bool | None) -> bool:
    if offline is not None:
        return offline
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _holds(card: ModelCard, target: Path) -> bool:
    files = installed(target, card.name)
    if files is None or set(files) != {file.name for file in card.files.values()}:
        return False
    return all(file.sha256 in (None, files[file.name]) for file in card.files.values())


def _bundle(card: ModelCard, revision: str) -> Bundle:
    return Bundle(
        name=card.name,
        demonstration=False,
        vision_file=card.vision,
        vision_sha256="",
        text=TextFacts(file=card.text, sha256="", context=card.context, pad_id=card.pad_id),
        card={
            "title": card.title,
            "repository": card.repository,
            "revision": revision,
            "licence": card.licence,
            "width": card.width,
        },
        known_answers=photographs(),
    )


def _look_up(card: ModelCard, endpoint: str, timeout_seconds: float) -> tuple[str, list[_Wanted]]:
    """The commit, and where each file lies in it, before anything large is asked for."""
    revision, wanted = card.revision, []
    for remote, file in card.files.items():
        url = hf_hub_url(card.repository, remote, revision=revision, endpoint=endpoint)
        told = get_hf_file_metadata(url, timeout=timeout_seconds, endpoint=endpoint)
        if told.commit_hash is None:
            raise ModelError(
                f"{endpoint} does not answer as a Hugging Face hub.",
                hint="Check HF_ENDPOINT, and whether a login page of the network is in the way.",
            )
        revision = told.commit_hash
        wanted.append(_Wanted(file, url, told.size, _checksum(file, told.etag, endpoint)))
    return revision, wanted


def _checksum(file: CardFile, etag: str | None, endpoint: str) -> tuple[str, str]:
    """The pinned SHA-256, else the hub's: SHA-256 for large files, the git blob's SHA-1 for others."""
    etag = etag or ""
    from_hub = "sha256" if re.fullmatch("[0-9a-f]{64}", etag) else "git" if re.fullmatch("[0-9a-f]{40}", etag) else ""
    if file.sha256 is not None:
        if from_hub == "sha256" and etag != file.sha256:
            raise ModelError(
                f"{endpoint} offers another {file.name} than the one this version of clipwatch knows.",
                hint="Use the original hub (unset HF_ENDPOINT), or update clipwatch.",
            )
        return "sha256", file.sha256
    if not from_hub:
        raise ModelError(
            f"{endpoint} names no checksum for {file.name}.", hint="Use the original hub: unset HF_ENDPOINT."
        )
    return from_hub, etag


def _matches(path: Path, checksum: tuple[str, str]) -> bool:
    algorithm, expected = checksum
    if algorithm == "sha256":
        return file_sha256(path) == expected
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == expected


def _take_over(wanted: list[_Wanted], target: Path, parts: Mapping[str, Path]) -> None:
    """Files that an interrupted installation already put into place are not fetched again."""
    for item in wanted:
        placed, part = target / item.file.name, parts[item.file.name]
        if not part.exists() and placed.is_file() and _matches(placed, item.checksum):
            placed.replace(part)


def _check_space(wanted: list[_Wanted], parts: Mapping[str, Path], staging: Path) -> None:
    missing = sum((item.size_bytes or item.file.size_bytes) - _size(parts[item.file.name]) for item in wanted)
    free = shutil.disk_usage(staging).free
    if missing + SPARE_BYTES > free:
        raise ModelError(
            f"{staging.parent} has {free // 2**20} MB free and {missing // 2**20} MB are still to come.",
            hint=f"Free some space. {_RESUME}",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _obtain(item: _Wanted, part: Path, progress: Progress, timeout_seconds: float) -> None:
    """Fill *part* from where it ends, and hold it against the checksum."""
    if item.size_bytes is None:
        part.unlink(missing_ok=True)
    progress(item.file.name, _size(part), item.size_bytes)
    whole = False
    while not whole and _size(part) != item.size_bytes:
        before = _size(part)
        try:
            _append(item, part, progress, timeout_seconds)
            whole = item.size_bytes is None or _size(part) >= item.size_bytes
        except httpx.TransportError:
            # As long as each connection brings something, going on is better than giving up.
            if _size(part) <= before:
                raise
        else:
            if not whole and _size(part) <= before:
                raise httpx.ReadError("it ends before its end")
    if not _matches(part, item.checksum):
        part.unlink()
        raise ModelError(
            f"{item.file.name} came with other content than its checksum promises, and was removed.",
            hint="Run the same command again; if it stays so, the hub or a proxy is at fault: unset HF_ENDPOINT.",
        )


def _append(item: _Wanted, part: Path, progress: Progress, timeout_seconds: float) -> None:
    have = _size(part)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    stream = get_session().stream("GET", item.url, headers=headers, timeout=timeout_seconds, follow_redirects=True)
    with stream as response:
        hf_raise_for_status(response)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            for block in response.iter_raw():
                file.write(block)
                done += len(block)
                progress(item.file.name, done, item.size_bytes)


@contextmanager
def _translated(card: ModelCard, endpoint: str) -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(card, endpoint, error.response.status_code) from error
    except (httpx.HTTPError, httpx.InvalidURL, OfflineModeIsEnabled) as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        away = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        raise (ModelUnavailable if away else ModelError)(
            f"{card.title} could not be fetched from {endpoint}: {reason}.",
            hint=f"Check the network, or set HF_ENDPOINT to a mirror. {_RESUME}",
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = "Free some space" if full else "Choose a folder that can be written"
        raise ModelError(
            f"{card.title} could not be written: {error.strerror or error}.", hint=f"{cure}. {_RESUME}"
        ) from error


def _refused(card: ModelCard, endpoint: str, status: int) -> ModelError:
    where = f"{endpoint}/{card.repository}"
    if status in (401, 403):
        return ModelError(
            f"{where} answers {status}: it wants a login, or has no such model.",
            hint="Accept its licence in a browser and set HF_TOKEN, or check HF_ENDPOINT.",
        )
    if status == 404:
        return ModelError(
            f"{where} has no commit {card.revision[:12]} with the files of {card.title}.",
            hint="Update clipwatch, or unset HF_ENDPOINT.",
        )
    kind = ModelUnavailable if status in (408, 429) or status >= 500 else ModelError
    return kind(f"{where} answers {status}: the hub has trouble.", hint=f"Try again later. {_RESUME}")
