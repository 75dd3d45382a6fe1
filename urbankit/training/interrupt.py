"""Ctrl-C, SIGTERM and SIGHUP as a request to stop after the current epoch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from urbankit.utils.errors import Interrupted

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask to stop."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether one of them was received; the second signal stops at once.

    Signals reach the main thread only: in another thread the function always returns False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    interrupted = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise Interrupted
        interrupted = True

    kinds = [kind for kind in STOPS if signal.getsignal(kind) is not signal.SIG_IGN]  # `nohup` ignores SIGHUP
    previous = {kind: signal.signal(kind, handle) for kind in kinds}
    try:
        yield lambda: interrupted
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
