"""Python imports this when a worker process starts; see `tests/campaigns/changes.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from changes import install

install()
