"""The command `urbankit tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from urbankit.cli.run import Changes, RecipeName

SHOWN = 10
"""How many trials the table has."""


def tune(
    recipe: RecipeName,
    space: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The space: keys of the recipe with {low, high, log, step} or {choices}."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default runs/NAME-tune.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials in all, earlier ones included.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Start no other trial after this time.")
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Seed of the splits that trials are scored on; default the recipe's. Repeatable."),
    ] = None,
    sets: Changes = None,
) -> None:
    """Search hyper-parameters of a recipe by their scores on the validation parts; the test parts are not read.

    Repeating the command goes on. It writes best.yaml, a recipe that extends the given one.

    [bold]urbankit tune urbanmmcl --space space.yaml --trials 30 --seed 100 --seed 101[/bold]
    """
    from urbankit.cli.output import console, figure, print_table
    from urbankit.tuning import tune as search
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        tuned = search(
            recipe, space, out, sets=sets or [], seeds=seeds or [], trials=trials, timeout=timeout, progress=progress
        )
    keys = list(dict.fromkeys(key for trial in tuned.trials for key in trial.values))
    print_table(
        f"the best of {len(tuned.trials)} trials",
        ("trial", "score", "state", *keys),
        [
            (str(trial.number), figure(trial.value), trial.state, *(figure(trial.values.get(key)) for key in keys))
            for trial in tuned.trials[:SHOWN]
        ],
    )
    if tuned.best is not None:
        console().print(f"The best recipe is {tuned.best}; run it with: urbankit run {tuned.best}", markup=False)
