"""Work on a pool of threads whose results come in order and never pile up."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int, ignored: type[Warning]
) -> Iterator[Result]:
    """`work(item)` for every item, in order, one thread a processor, at most `ahead` results waiting.

    For work that releases the interpreter lock: decoding, warping, reading. `ignored` warnings are silenced around
    all threads, because filters belong to the process and a thread that sets its own undoes another's.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore", ignored)
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
