"""The command `python -m urbankit`."""

from urbankit.cli.main import main

main()
