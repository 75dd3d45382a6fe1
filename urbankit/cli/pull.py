"""The command `urbankit pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pull(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the hub.")],
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="A branch, tag or commit; default the main branch.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default NAME.")] = None,
) -> None:
    """Download a model from the Hugging Face hub, and compare its files with their recorded sizes and hashes.

    [bold]urbankit pull me/singapore --out models/singapore[/bold]

    HF_TOKEN or `hf auth login` gives the token for a private model, and HF_ENDPOINT names another hub.
    """
    from urbankit.cli.output import console
    from urbankit.pipeline.hub import pull as pull_model

    place, notes = pull_model(name, out, revision=revision)
    for line in (place, *(f"  {note}" for note in notes)):
        console().print(line, markup=False, soft_wrap=True)
