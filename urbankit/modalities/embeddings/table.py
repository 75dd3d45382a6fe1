"""Embeddings in a table with one row for each region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.city import City
from urbankit.city.ids import RegionIds
from urbankit.city.io.codes import decode
from urbankit.city.io.columns import data_columns
from urbankit.city.io.source import reading
from urbankit.city.io.tables import read, scan
from urbankit.city.prepare.match_regions import explain_no_match
from urbankit.modalities.embeddings.ids import recognise, without_prefix
from urbankit.modalities.embeddings.rules import (
    EmbeddingTable,
    Rules,
    report_absent,
    report_unknown,
    select_names,
    without_empty,
)
from urbankit.modalities.embeddings.vectors import vectors
from urbankit.modalities.embeddings.years import choose_year, names_of_year, years_of_rows
from urbankit.utils.errors import Problems
from urbankit.utils.text import list_some


def read_table(path: Path, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable | None:
    """Return the rows of the regions by their ids; None with problems added."""
    columns = scan(path, {}, key, only_named=False).collect_schema().names()
    published = recognise(columns)
    if published is not None and rules.region not in columns:
        rules = replace(rules, region=published.region)
    frame = read(path, {"region": rules.region}, key).with_row_index("__row", offset=1)
    ids = RegionIds(city.region_ids)
    frame, notes = without_prefix(frame, rules.region, ids, rules.prefix, path, key)
    frame, in_rows = _rows_of_year(frame, path, rules, key)
    dtype = frame.schema[rules.region]
    frame = frame.with_columns(
        ids.index(rules.region, dtype).alias("__region"), ids.text(rules.region, dtype).alias("__id")
    )
    _check_ids(frame, ids, rules, problems, notes, key)
    internal = {rules.region, "__row", "__region", "__id"}
    others = [name for name in frame.columns if name not in internal]
    if rules.columns is None and published is not None:
        others = published.numbers(others)
        notes.append(f"a table of {published.name}: the {len(others)} columns of its features are read")
    elif rules.columns is None:
        with problems.collect():
            data = data_columns(frame, internal, path, f"{key}.columns")
            others, notes = data.names, notes + data.notes
    by_name = {name: name for name in others}
    if not in_rows and not set(rules.columns or ()) & set(others):
        by_name = names_of_year(others, rules.year, path, key, "has columns")
    selected = select_names(rules.columns, list(by_name), "column", problems, key)
    parsed = vectors(frame, [by_name[name] for name in selected], path, problems, f"{key}.columns")
    region = frame["__region"].to_numpy()
    if parsed is None:  # report the regions without a row too
        report_absent(EmbeddingTable(np.empty(0), region, [], notes), city, rules, problems, key)
        return None
    values, names, has = parsed
    names = selected if len(names) == len(selected) > 1 else names
    with problems.collect(), reading(path, f"{key}.file"):
        values, decoded = decode(values, names, rules.codes)
        notes += decoded
    rows = (region >= 0) & has
    table = EmbeddingTable(values[rows[has]], region[rows], names, notes)
    return without_empty(table, city, rules, problems, key)


def _rows_of_year(frame: pl.DataFrame, path: Path, rules: Rules, key: str) -> tuple[pl.DataFrame, bool]:
    """Return the rows of the year, and whether a column says it, which is then left out.

    Without a request, a year is chosen only where regions have several rows.
    """
    dated = years_of_rows(frame)
    if dated is None or (rules.year is None and not frame[rules.region].is_duplicated().any()):
        return frame, False
    name, years = dated
    year = choose_year(set(years.drop_nulls()), rules.year, path, key, "has rows")
    return (frame, False) if rules.year is None else (frame.filter(years == year).drop(name), True)


def _check_ids(
    frame: pl.DataFrame, ids: RegionIds, rules: Rules, problems: Problems, notes: list[str], key: str
) -> None:
    empty = frame.filter(pl.col("__id").is_null())["__row"].to_list()
    if empty:
        problems.add(
            f"rows without a region id: {list_some(empty)}; give them one, or delete them", key=f"{key}.region"
        )
    unknown = frame.filter((pl.col("__region") < 0) & pl.col("__id").is_not_null())
    if (frame["__region"] < 0).all():
        problems.add(explain_no_match(frame["__id"], ids, rules.region), key=f"{key}.region")
    else:
        report_unknown(unknown["__id"].to_list(), unknown["__row"].to_list(), rules, problems, notes, key)
    doubled = (
        frame.filter(pl.col("__region") >= 0)
        .group_by("__id", maintain_order=True)
        .agg(pl.col("__row"))
        .filter(pl.col("__row").list.len() > 1)
    )
    if len(doubled):
        named = [f"{name} (rows {', '.join(map(str, rows))})" for name, rows in doubled.iter_rows()]
        problems.add(f"regions with several rows: {list_some(named)}; keep one each", key=f"{key}.region")
