"""Captions: texts about the images of a source, by region or by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from urbankit.city.ids import RegionIds
from urbankit.city.image_source import ImageSource
from urbankit.city.io.tables import read
from urbankit.city.prepare.caption_check import FLAGS, check_captions
from urbankit.city.prepare.match_regions import read_by_region, region_of
from urbankit.city.report import SourceReport
from urbankit.city.spec import Captions
from urbankit.utils.errors import Problems
from urbankit.utils.paths import resolve_inside


def build_captions(
    spec: Captions, ids: RegionIds, images: ImageSource | None, data: Path, problems: Problems, report: SourceReport
) -> pd.DataFrame | None:
    """Columns `region` int64, `image` int64 (row in the image source, or -1) and `text`, sorted by region.

    An image that lies in two regions gives its caption to both. None when `problems` says why.
    """
    path = resolve_inside(data, spec.file)
    if spec.region is not None:
        columns = {"region": spec.region, "text": spec.text}
        frame = read_by_region(path, columns, ids, problems, report, once=False)
        if frame is None:
            return None
        matched = pl.DataFrame({"region": region_of(frame), "image": -1, "text": _text(frame, spec.text)})
    else:
        matched = _by_image(spec, images, path, problems, report)
        if matched is None:
            return None
    empty = matched.filter(pl.col("text").is_null())
    report.drop(len(empty), "without a text")
    matched = matched.drop_nulls("text").sort("region", "image", maintain_order=True)
    report.matched = len(matched)
    if not len(matched):
        problems.add(f"every text in column '{spec.text}' is empty", file=path, key=f"{report.key}.text")
        return None
    _note_odd(matched, images, report)
    repeated = len(matched) - matched["text"].n_unique()
    if repeated:
        report.note(f"captions that repeat the text of another: {repeated}")
    report.covers = ("captions", report.key.split(".", 1)[1], matched["region"].n_unique())
    return matched.to_pandas().astype({"region": np.int64, "image": np.int64})


def _by_image(
    spec: Captions, images: ImageSource | None, path: Path, problems: Problems, report: SourceReport
) -> pl.DataFrame | None:
    frame = read(path, {"image": spec.image, "text": spec.text}, problems, report.key)
    if frame is None or images is None:
        return None
    report.rows = len(frame)
    names = pl.Series(images.image_ids, dtype=pl.String)
    rows = pl.DataFrame({"image_id": names, "image": np.arange(len(names)), "region": images.region})
    captions = pl.DataFrame({"image_id": frame[spec.image].cast(pl.String), "text": _text(frame, spec.text)})
    strangers = captions.filter(~pl.col("image_id").is_in(names.implode()))
    report.drop(len(strangers), "about an image that is in no region")
    matched = captions.join(rows, on="image_id", maintain_order="left").select("region", "image", "text")
    if not len(matched):
        some = ", ".join(captions["image_id"].drop_nulls().head(3)) or "nothing"
        problems.add(f"no image in column '{spec.image}' is in a region; it names {some}", file=path, key=report.key)
        return None
    return matched


def _note_odd(matched: pl.DataFrame, images: ImageSource | None, report: SourceReport) -> None:
    """Note captions that were cut off, and those that contradict themselves or another caption of their image."""
    if images is None:  # captions of one region may be of several images, so each stands for itself
        ids, texts = [str(row) for row in range(len(matched))], matched["text"].to_list()
    else:  # an image in several regions has a row in each
        names = [images.image_ids[row] for row in matched["image"]]
        once = matched.with_columns(id=pl.Series(names)).unique(["id", "text"], maintain_order=True)
        ids, texts = once["id"].to_list(), once["text"].to_list()
    counts = check_captions(texts, ids).counts()
    for flag in ("truncated", "contradicting"):
        if counts[flag]:
            report.note(f"{flag} captions ({FLAGS[flag]}): {counts[flag]}; `urbankit caption-check` names them")


def _text(frame: pl.DataFrame, column: str) -> pl.Series:
    """A column as text without outer spaces, null where nothing is left."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return frame.select(pl.when(text == "").then(None).otherwise(text)).to_series()
