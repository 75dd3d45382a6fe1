"""Work done one step ahead in a thread, so that reading and computing overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], depth: int = 1) -> Iterator[Result]:
    """`map(function, items)`, in order, where the next `depth` results are computed in a thread meanwhile.

    An error of `function` is raised where its result is due.

    >>> list(ahead(lambda x: x * x, [1, 2, 3]))
    [1, 4, 9]
    """
    waiting: list[Future[Result]] = []
    try:
        for item in items:
            waiting.append(background(function, item))
            if len(waiting) > depth:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def background(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Start `function(item)` in a thread."""
    return _threads().submit(function, item)


@cache
def _threads() -> ThreadPoolExecutor:
    # Two: one reads the next batch of a modality while another modality's is still being read.
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="urbankit-read")
