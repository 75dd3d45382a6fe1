"""Count the changes of files and folders that a process and its workers make, and send a signal at one of them.

`worker/sitecustomize.py` installs this in the worker processes of `bench`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "URBANKIT_CAMPAIGN_KILL"
WORKER = Path(__file__).with_name("worker")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclass
class Kill:
    """Signals that the process which is about to make a certain change sends to itself.

    Attributes:
        folders: Changes in these folders count.
        tally: A file with one byte for each change.
        moment: The number of the change before which the first signal is sent.
        signals: The signals, each at one change.
    """

    folders: list[str]
    tally: str
    moment: int
    signals: list[int]

    def to_environment(self) -> None:
        """Let processes that this one starts count as well."""
        os.environ[VARIABLE] = json.dumps(asdict(self))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(WORKER), os.environ.get("PYTHONPATH", "")])

    def install(self) -> None:
        """Count the changes of this process."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not (opened or event in CHANGES) or not isinstance(arguments[0], str | Path):
            return
        path = Path(arguments[0])
        if any(path.is_relative_to(folder) for folder in self.folders):
            handle = os.open(self.tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, b".")
            count = os.lseek(handle, 0, os.SEEK_CUR)
            os.close(handle)
            if self.moment <= count < self.moment + len(self.signals):
                os.kill(os.getpid(), self.signals[count - self.moment])


def install() -> None:
    """Count the changes of this process if the one that started it asks for it."""
    if VARIABLE in os.environ:
        Kill(**json.loads(os.environ[VARIABLE])).install()
