"""The command `urbankit caption`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from urbankit.captioning.files import CaptionFiles
    from urbankit.city.city import City


def caption(
    city: Annotated[Path, typer.Argument(metavar="CITY", help="A prepared city, or the CITY.yaml to prepare first.")],
    captioner: Annotated[
        str, typer.Option(help="The captioner: template, vlm (BLIP-2), or one of a plugin.")
    ] = "template",
    modality: Annotated[
        list[str] | None, typer.Option(help="Image source to describe, such as rsi or svi; default all. Repeatable.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Set one parameter of the captioner. Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default captions/NAME.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the city's sources, to read images in their original size."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Numbers of the red, green and blue band, starting at 1.")
    ] = None,
    attach: Annotated[bool, typer.Option("--attach", help="Add the captions to the prepared city.")] = False,
) -> None:
    """Write captions of the images or the regions of a city.

    An interrupted job continues if the same command is run again.

    [bold]urbankit caption cities/new-york --attach[/bold]

    [bold]urbankit caption cities/my-city --captioner vlm --data DATA --out DATA/captions[/bold]
    """
    from urbankit.captioning.run import caption_city
    from urbankit.cli.output import console
    from urbankit.cli.use import component_use
    from urbankit.utils.progress import Progress

    use, rgb = component_use("captioner", "--captioner", captioner, sets or []), _bands(bands)
    with Progress() as progress:
        opened, data = _open(city, data, progress)
        folder = out or Path("captions", opened.name)
        files = caption_city(
            opened, use, folder, modalities=modality, data=data, bands=rgb, attach=attach, progress=progress
        )
    for captions in files:
        _show(captions)
    message = _city_yaml(files, data)
    if attach:
        names = " and ".join(captions.modality for captions in files)
        message = f"The city in {opened.path} now has captions of {names}. Preparing the city again removes them."
    console().print(message, markup=False, soft_wrap=True)


def _bands(text: str | None) -> list[int] | None:
    from urbankit.utils.errors import UserError

    if text is None:
        return None
    try:
        return [int(band) for band in text.split(",")]
    except ValueError:
        raise UserError(f"--bands {text}: must be three numbers separated by commas, such as 3,2,1") from None


def _open(city: Path, data: Path | None, progress: Any) -> tuple[City, Path | None]:
    """Return the prepared city, and the folder of its sources if it is known."""
    from urbankit.city.city import City
    from urbankit.city.prepare.prepare import prepare

    if not city.is_file():
        return City.open(city), data
    sources = data if data is not None else city.parent
    return City.open(prepare(city, data=sources, progress=progress)), sources


def _show(captions: CaptionFiles) -> None:
    from urbankit.cli.output import console, print_table

    out = console()
    skipped = "".join(f"; {count:,} {reason}" for reason, count in captions.skipped.items())
    out.print(
        f"{captions.modality}: {captions.made:,} captions in {captions.file} and .parquet{skipped}",
        markup=False,
        soft_wrap=True,
    )
    for message in captions.unreadable[:5]:
        out.print(f"  skipped: {message}", markup=False, soft_wrap=True)
    more = len(captions.unreadable) - 5
    if more > 0:
        out.print(f"  skipped: {more:,} more, listed in {captions.file.with_suffix('.json')}", markup=False)
    if captions.note:
        out.print(captions.note, markup=False, soft_wrap=True)
    print_table("", ("check", "captions", "meaning", "first"), captions.check.rows())


def _city_yaml(files: list[CaptionFiles], data: Path | None) -> str:
    """Return the lines for city.yaml with which `prepare` reads the captions; paths are relative to the data folder."""
    inside = data is not None and all(captions.file.resolve().is_relative_to(data.resolve()) for captions in files)
    copy = "" if inside else "Copy the files into the folder of the city's sources. "
    lines = [f"{copy}Add to city.yaml (or use --attach to add the captions to the prepared city):", "captions:"]
    for captions in files:
        spec = captions.spec()
        if inside and data is not None:
            spec["file"] = Path(os.path.relpath(captions.file.resolve(), data.resolve())).as_posix()
        lines.append(f"  {captions.modality}: {{{', '.join(f'{key}: {value}' for key, value in spec.items())}}}")
    return "\n".join(lines)
