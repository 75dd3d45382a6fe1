"""Work done ahead in threads, so that reading and computing overlap; results come in order, a few at a time."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int = 1, pool: ThreadPoolExecutor | None = None
) -> Iterator[Result]:
    """`map(function, items)`, in order, while threads compute the next `depth` results.

    `pool` has the threads; the default is that of `in_background`. An error of `function` is raised in place of its
    result.

    >>> list(prefetch(lambda x: x * x, [1, 2, 3]))
    [1, 4, 9]
    """
    pool = _threads() if pool is None else pool
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def thread_map(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int, ignored: type[Warning]
) -> Iterator[Result]:
    """`prefetch` with one thread a processor, for work that releases the interpreter lock: decoding, warping, reading.

    `ignored` warnings are silenced around all threads: filters belong to the process, so threads must not set them.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", ignored)
        yield from prefetch(function, items, depth, pool)


def in_background(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Start `function(item)` in a thread."""
    return _threads().submit(function, item)


@cache
def _threads() -> ThreadPoolExecutor:
    # Two: one reads the next batch of a modality while another modality's is still being read.
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="urbankit-read")
