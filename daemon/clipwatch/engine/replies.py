"""What a request gets back: Qdrant's envelope, its status codes and its words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import pydantic_core

_ENVELOPE_TAIL: Final = b',"status":"ok","time":%.9f}'


class Refused(Exception):
    """An answer that is not a result: an HTTP status and the words for `status.error`."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def result_body(result: Any, seconds: float) -> bytes:
    """`{"result":…,"status":"ok","time":…}`; UUIDs become text."""
    return b'{"result":' + pydantic_core.to_json(result) + _ENVELOPE_TAIL % seconds


def error_body(words: str, seconds: float) -> bytes:
    """`{"status":{"error":…},"time":…}`."""
    return pydantic_core.to_json({"status": {"error": words}, "time": seconds})


def collection_missing(name: str) -> Refused:
    return Refused(404, f"Not found: Collection `{name}` doesn't exist!")


def collection_exists(name: str) -> Refused:
    return Refused(409, f"Wrong input: Collection `{name}` already exists!")


def unsupported(what: str) -> Refused:
    return Refused(400, f"Wrong input: {what} is not supported by clipwatch's embedded engine; use a Qdrant server.")


def wrong(words: str) -> Refused:
    return Refused(400, f"Wrong input: {words}")


def format_error(words: str) -> Refused:
    return Refused(400, f"Format error in JSON body: {words}")


def invalid(words: str) -> Refused:
    return Refused(422, f"Validation error in JSON body: [{words}]")


@contextlib.contextmanager
def edge_calls() -> Iterator[None]:
    """Every call into the engine goes through here; its errors have no types, only words."""
    try:
        yield
    except Refused:
        raise
    except (ValueError, TypeError) as error:
        raise format_error(str(error).partition("\n")[0]) from error
    except Exception as error:
        raise _classified(str(error)) from error


def _classified(words: str) -> Refused:
    if words.startswith("No point with id"):
        return Refused(404, f"Not found: {words} found")
    if words.startswith(("Vector dimension error", "Not existing vector name", "Wrong input", "Bad request")):
        return wrong(words.removeprefix("Wrong input: "))
    if words.startswith(("No appropriate index", "Index required")):
        return Refused(400, f"Bad request: {words}")
    return Refused(500, f"Service internal error: {words}")
