"""What torchrun, accelerate or another launcher of torch says of this process."""

from __future__ import annotations

import os


def launched_in_several() -> bool:
    """Whether a launcher started this process and others."""
    count = os.environ.get("WORLD_SIZE", "1")
    return "RANK" in os.environ and count.isdigit() and int(count) > 1


def launched_first() -> bool:
    """Whether this process is the first of those that a launcher started, or the only one."""
    return not launched_in_several() or os.environ["RANK"] == "0"
