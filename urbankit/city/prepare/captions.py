"""Captions: texts about the images of a source, by region or by image."""

from __future__ import annotations

import numpy as np
import polars as pl

from urbankit.city.image_source import ImageSource
from urbankit.city.io.columns import file_names, sentences
from urbankit.city.io.tables import read
from urbankit.city.prepare.caption_check import FLAGS, check_captions
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import read_by_region, region_of
from urbankit.city.report import SourceReport
from urbankit.city.spec import Captions
from urbankit.utils.errors import Problem, UserError


def build_captions(spec: Captions, context: Context, report: SourceReport) -> Built:
    """`captions/NAME.parquet`: region int64, image int64 (row in the image source, or -1) and text, by region.

    The caption of an image that lies in two regions has a row for each of them.
    """
    images = None
    if spec.image is not None:
        images = context.image_source(report.name)
        captions = _by_image(spec.file, spec.image, spec.text, images, context, report)
    else:
        assert spec.region is not None, "the spec holds one of region and image"
        text_key = f"{report.key}.text"
        columns = {"region": spec.region, "text": spec.text}
        frame = read_by_region(spec.file, columns, context, report, unique=False)
        captions = pl.DataFrame(
            {
                "region": region_of(frame),
                "image": -1,
                "text": sentences(frame, spec.text, context.path(spec.file), text_key),
            }
        )
    report.drop(captions["text"].null_count(), "without a text")
    captions = captions.drop_nulls("text").sort("region", "image", maintain_order=True)
    report.matched = len(captions)
    if not len(captions):
        message = f"every text in column '{spec.text}' is empty"
        raise UserError(Problem(message, context.path(spec.file), key=f"{report.key}.text"))
    _note_flagged(captions, images, report)
    repeated = len(captions) - captions["text"].n_unique()
    if repeated:
        report.note(f"captions that repeat the text of another: {repeated}")
    report.covers = ("captions", report.name, captions["region"].n_unique())
    table = captions.to_pandas().astype({"region": np.int64, "image": np.int64})
    return Built({f"captions/{report.name}.parquet": table})


def _by_image(
    file: str, image: str, text: str, images: ImageSource, context: Context, report: SourceReport
) -> pl.DataFrame:
    path = context.path(file)
    frame = read(path, {"image": image, "text": text}, report.key)
    report.rows = len(frame)
    names = pl.Series(images.image_ids, dtype=pl.String)
    rows = pl.DataFrame({"image_id": names, "image": np.arange(len(names)), "region": images.region})
    image_ids = file_names(frame, image, path, f"{report.key}.image")
    captions = pl.DataFrame({"image_id": image_ids, "text": sentences(frame, text, path, f"{report.key}.text")})
    report.drop(captions.select(~pl.col("image_id").is_in(names.implode())).sum().item(), "about an image in no region")
    matched = captions.join(rows, on="image_id", maintain_order="left").select("region", "image", "text")
    if not len(matched):
        examples = ", ".join(captions["image_id"].drop_nulls().head(3)) or "nothing"
        message = f"no image in column '{image}' is in a region; it names {examples}"
        raise UserError(Problem(message, path, key=report.key))
    return matched


def _note_flagged(captions: pl.DataFrame, images: ImageSource | None, report: SourceReport) -> None:
    """Note captions that were cut off, and those that contradict themselves or another caption of their image."""
    if images is None:  # captions of one region may be of several images, so each is checked alone
        ids, texts = [str(row) for row in range(len(captions))], captions["text"].to_list()
    else:  # an image in several regions has a row in each
        names = [images.image_ids[row] for row in captions["image"]]
        unique = captions.with_columns(id=pl.Series(names)).unique(["id", "text"], maintain_order=True)
        ids, texts = unique["id"].to_list(), unique["text"].to_list()
    counts = check_captions(texts, ids).counts()
    for flag in ("truncated", "contradicting"):
        if counts[flag]:
            report.note(f"{flag} captions ({FLAGS[flag]}): {counts[flag]}; `urbankit caption-check` names them")
