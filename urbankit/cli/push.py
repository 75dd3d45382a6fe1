"""The command `urbankit push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A folder or name of a model, or a run folder."),
    ],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is missing.")],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody read a repository that is made; by default it is private.")
    ] = False,
) -> None:
    """Upload a model to the Hugging Face hub. No data of the city is uploaded but what the model holds.

    [bold]urbankit push models/singapore me/singapore[/bold]

    HF_TOKEN or `hf auth login` gives the token, and HF_ENDPOINT names another hub.
    """
    from urbankit.cli.output import console
    from urbankit.pipeline.hub import push as push_model

    place, notes = push_model(model, name, public=public)
    for line in (place, *(f"  {note}" for note in notes)):
        console().print(line, markup=False, soft_wrap=True)
