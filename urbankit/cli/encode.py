"""The command `urbankit encode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from urbankit.utils.errors import suggest

if TYPE_CHECKING:
    from urbankit.recipe import Recipe
    from urbankit.registry.component import Use

Auto = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


def encode(
    modality: Annotated[
        str, typer.Option(metavar="NAME", help="The modality, such as an image source, text or location.")
    ],
    city: Annotated[
        Path | None,
        typer.Argument(metavar="CITY", help="A prepared city; default the city of --recipe."),
    ] = None,
    encoder: Annotated[str | None, typer.Option(metavar="NAME", help="The encoder, such as vit or text.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A=B",
            help="A parameter of --encoder, or a value of --recipe (A.B=C). Repeatable.",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Use the encoder, device and precision of this recipe.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY",
            help="Encode only observations of this modality, such as svi for captions of street views.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; default features/CITY-MODALITY-KEY.")
    ] = None,
    form: Annotated[
        Literal["parquet", "safetensors"], typer.Option("--format", help="Format of the files.")
    ] = "parquet",
    rows: Annotated[
        int, typer.Option(min=1, help="Number of observations in each file; a file is written when it is complete.")
    ] = 4096,
    device: Annotated[Auto | None, typer.Option(help="Device to compute on; default auto.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Precision to compute in; default auto.")] = None,
) -> None:
    """Compute the features of a modality: files with one vector per observation, and means that later runs reuse.

    An interrupted job continues if the same command is run again.

    [bold]urbankit encode cities/mine --modality rsi --encoder vit --set pretrained=openai/clip-vit-base-patch32[/bold]

    [bold]urbankit encode --recipe recipes/mine.yaml --modality text --of svi[/bold]
    """
    import torch

    from urbankit import registry
    from urbankit.city.city import City
    from urbankit.cli.output import console
    from urbankit.cli.use import component_use
    from urbankit.modalities.encode import encode as encode_observations
    from urbankit.modalities.pooling import RegionEncoder
    from urbankit.recipe import Recipe
    from urbankit.runs.data import prepare_city
    from urbankit.utils.device import encoder_precision, pick_device
    from urbankit.utils.errors import Problem, UserError
    from urbankit.utils.progress import Progress

    loaded = None if recipe is None else Recipe.load(recipe, sets or [])
    if loaded is not None and encoder is None:
        use = _use_of(loaded, modality)
    elif encoder is not None and loaded is None:
        use = component_use("modality_encoder", "--encoder", encoder, sets or [])
    else:
        raise UserError("give either --encoder (with --set for its parameters) or --recipe")
    chosen = pick_device(device or (loaded.device if loaded else "auto"))
    dtype = encoder_precision(chosen, precision or (loaded.precision if loaded else "auto"))
    with Progress() as progress:
        if city is not None:
            opened = City.open(city)
        elif loaded is not None:
            opened = prepare_city(loaded, progress)
        else:
            raise UserError("give CITY, a folder that `urbankit prepare` wrote, or --recipe")
        torch.manual_seed(loaded.seed if loaded else 0)
        built = registry.create("modality_encoder", use, opened, modality, 1).to(chosen)
        if use.params.get("pretrained", "") is None:
            progress.say(f"note: {use.name} without `pretrained` has random weights")
        if of is not None and not len(built.observations(of)):
            raise UserError(Problem(f"{modality} has no observations that describe '{of}'", opened.path, key="--of"))
        pool = RegionEncoder(built, of)
        folder = encode_observations(pool, opened, out, form=form, rows=rows, precision=dtype, progress=progress)
    console().print(
        f"{len(pool.region)} observations of {int(pool.present.sum())} of {opened.n_regions} regions, {built.width} "
        f"numbers each, are in {folder}; runs with this encoder reuse them",
        markup=False,
        soft_wrap=True,
    )


def _use_of(recipe: Recipe, modality: str) -> Use:
    """Return the encoder of a modality in a recipe."""
    from urbankit.utils.errors import UserError

    if modality not in recipe.modalities:
        raise UserError(f"the recipe has no modality '{modality}'.{suggest(modality, recipe.modalities)}")
    return recipe.modalities[modality]
