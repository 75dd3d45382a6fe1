"""The command `urbankit caption-check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.city.prepare.caption_check import CaptionCheck


def caption_check(
    target: Annotated[
        Path, typer.Argument(metavar="FILE|CITY", help="Captions (JSONL, CSV or Parquet), or a prepared city.")
    ],
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the captions; default caption or text.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column with the ids of the described images; default image, else region_id."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Token limit of the captioner.")] = 77,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all flagged captions.")] = False,
) -> None:
    """Count and list captions that are empty, repeated, truncated or contradictory.

    [bold]urbankit caption-check captions/my-city/rsi.jsonl[/bold]
    """
    from urbankit.cli.output import print_json, print_table

    if target.is_dir():
        checks = _of_city(target, max_tokens)
    else:
        checks = {target.name: _of_file(target, text, image, max_tokens)}
    if as_json:
        print_json({name: check.to_json() for name, check in checks.items()})
        return
    for name, check in checks.items():
        title = f"{name}: {len(check.texts):,} captions"
        print_table(title, ("check", "captions", "meaning", "first"), check.rows())


def _of_city(folder: Path, max_tokens: int) -> dict[str, CaptionCheck]:
    from urbankit.city.city import City
    from urbankit.city.prepare.caption_check import check_captions
    from urbankit.utils.errors import Problem, UserError

    city = City.open(folder)
    if not city.caption_sources:
        raise UserError(Problem("the city has no captions; make some with `urbankit caption`", folder))
    checks = {}
    for source in city.caption_sources:
        table = city.captions(source)
        if (table["image"] >= 0).all():
            names = city.images(source).image_ids
            ids = [names[row] for row in table["image"]]
        else:  # captions of a region may describe several images
            ids = [f"{city.region_ids[region]} (row {row})" for row, region in enumerate(table["region"], start=1)]
        captions = dict.fromkeys(zip(ids, table["text"], strict=True))
        texts, names = [text for _, text in captions], [name for name, _ in captions]
        checks[source] = check_captions(texts, names, None, max_tokens)
    return checks


def _of_file(path: Path, text: str | None, image: str | None, max_tokens: int) -> CaptionCheck:
    import polars as pl

    from urbankit.city.io.tables import check_columns, read
    from urbankit.city.prepare.caption_check import check_captions

    frame = read(path, {}, "")
    columns = frame.columns
    text = text or ("text" if "caption" not in columns else "caption")
    check_columns(path, {"text": text} | ({"image": image} if image else {}), columns, "caption-check")
    id_columns = [name for name in ("image", "region_id") if name in columns and frame[name].null_count() == 0]
    id_column = image or next(iter(id_columns), None)
    ids = [f"row {row}" for row in range(1, len(frame) + 1)]
    if id_column:
        ids = frame[id_column].cast(pl.String).fill_null("").to_list()
    tokens = frame["tokens"].to_list() if "tokens" in columns and frame["tokens"].dtype.is_integer() else None
    return check_captions(frame[text].cast(pl.String).to_list(), ids, tokens, max_tokens)
