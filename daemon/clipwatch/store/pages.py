"""Iterators over a scroll that survive a failed page: ask again, and they go on where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Pages(Iterator[T], Generic[T]):
    """Pages fetched by *fetch*, which takes an offset (None at first) and returns a page and the next offset.

    A generator that raises is over; this is not, so that a retry costs a page and not the whole scroll.
    """

    def __init__(self, fetch: Callable[[Any], tuple[T, Any]]) -> None:
        self._fetch = fetch
        self._offset: Any = None
        self._finished = False

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        page, self._offset = self._fetch(self._offset)
        self._finished = self._offset is None
        return page


class Each(Iterator[T], Generic[T]):
    """The items of *pages*, one by one; as resumable as they are."""

    def __init__(self, pages: Iterator[Sequence[T]]) -> None:
        self._pages = pages
        self._page: Iterator[T] = iter(())

    def __next__(self) -> T:
        while True:
            for item in self._page:
                return item
            self._page = iter(next(self._pages))
