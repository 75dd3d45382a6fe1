"""The command `urbankit check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of cities, runs, suites, features or the cache.")
    ],
) -> None:
    """Compare files with the sizes and hashes that urbankit recorded when it wrote them.

    Damaged and missing files are named, and the exit status is 1.

    [bold]urbankit check cities/new-york runs/new-york[/bold]
    """
    from urbankit.cli.output import console
    from urbankit.pipeline.check import check_path
    from urbankit.utils.errors import RunError

    checked = [check_path(path) for path in paths]
    if problems := [problem for one in checked for problem in one.problems]:
        raise RunError(problems)
    console().print(f"{sum(one.files for one in checked)} files are as urbankit wrote them.", markup=False)
