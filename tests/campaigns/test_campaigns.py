"""The short forms of the campaigns; their long forms are commands, see docs/reliability.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_commands_resume_to_the_same_bytes() -> None:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--count", "6", "--seed", "7"]
    command += ["--commands", "prepare,caption"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
