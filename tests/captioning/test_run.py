"""Captions of a city: what is described, resumed, skipped, refused and recorded, with captioners of a few lines."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml
from PIL import Image
from pydantic import Field
from shapely.geometry import box

from urbankit import City, Params, RunError, Use, UserError, hookimpl, registry
from urbankit.captioning import run as job
from urbankit.captioning import sources as caption_sources
from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.captioning.run import caption_city
from urbankit.city.prepare.attach import attach_captions
from urbankit.city.spec import Captions
from urbankit.utils.files import atomic_path
from urbankit.utils.locks import file_lock

CALLS: list[Batch] = []
BREAK: dict[str, Any] = {}


class Brightness(Captioner):
    """Says how bright each image is; `BREAK` makes it fail."""

    class Params(Params):
        batch_size: int = Field(4, ge=1, description="Images a call.")
        word: str = Field("brightness", description="The word before the number.")

    def __init__(self, params: Any, city: City) -> None:
        super().__init__(params, city)
        self.batch_size = params.batch_size

    def caption(self, batch: Batch) -> Any:
        CALLS.append(batch)
        if "after" in BREAK and len(CALLS) > BREAK["after"]:
            raise BREAK.get("error", RuntimeError("the cable is out"))
        if "returns" in BREAK:
            return BREAK["returns"](batch)
        return [Caption(f"{self.params.word} {pixels.mean():.3f}", 2) for pixels in batch.pixels]


class Plugin:
    @staticmethod
    @hookimpl
    def register_captioners(register: Any) -> None:
        register("brightness", f"{__name__}:Brightness", "how bright an image is")


@pytest.fixture(autouse=True)
def brightness() -> Iterator[None]:
    CALLS.clear()
    BREAK.clear()
    registry.reload()
    registry.add_plugin(Plugin, "toys")
    yield
    registry.reload()


def made(city: City, out: Path, *, captioner: str = "brightness", settings: dict | None = None, **options: Any) -> list:
    return caption_city(city, Use(name=captioner, **(settings or {})), out, **options)


def rows(out: Path, modality: str = "svi") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{modality}.jsonl").read_text().splitlines()]


def test_every_image_of_every_modality_is_described_once(city: City, tmp_path: Path) -> None:
    files = made(city, tmp_path)
    assert [(one.modality, one.made, one.key) for one in files] == [("rsi", 16, "image"), ("svi", 34, "image")]
    source = city.images("svi")
    for row, record in enumerate(rows(tmp_path)):
        region = city.region_ids[source.region[row]]
        assert record == {
            "region_id": region, "image": source.image_ids[row], "modality": "svi",
            "caption": f"brightness {source.read(np.array([row])).mean():.3f}", "tokens": 2,
            "captioner": "brightness", "model": "brightness", "revision": None, "prompt": None,
        }  # fmt: skip
    assert pl.read_parquet(tmp_path / "svi.parquet").to_dicts() == rows(tmp_path)
    assert not list(tmp_path.glob("*.partial.jsonl"))


def test_an_image_in_two_regions_is_described_once(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    squares = [box(500_000, 4_500_000, 501_000, 4_501_000), box(500_900, 4_500_000, 502_000, 4_501_000)]
    gpd.GeoDataFrame({"id": ["a", "b"]}, geometry=squares, crs="EPSG:32618").to_file(folder / "regions.gpkg")
    points = gpd.points_from_xy([500_950, 500_100], [4_500_500, 4_500_500], crs="EPSG:32618").to_crs("EPSG:4326")
    pd.DataFrame({"image": ["both.png", "one.png"], "lon": points.x, "lat": points.y}).to_csv(
        folder / "views.csv", index=False
    )
    for name, level in (("both.png", 100), ("one.png", 50)):
        Image.new("RGB", (8, 8), (level,) * 3).save(folder / name)
    spec = {
        "name": "two",
        "regions": {"file": "regions.gpkg", "id": "id"},
        "images": {"svi": {"points": "views.csv", "image": "image", "size": 8}},
    }
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    city = City.prepare(folder / "city.yaml", out=tmp_path / "city")
    [files] = made(city, folder / "captions")
    described = [(row["image"], row["region_id"]) for row in rows(folder / "captions")]
    assert described == [("both.png", "a"), ("one.png", "a")]
    # As a source of the city, the caption belongs to both regions, once each.
    spec["captions"] = {"svi": files.spec() | {"file": "captions/svi.jsonl"}}
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    captions = City.prepare(folder / "city.yaml", out=tmp_path / "city").captions("svi")
    assert captions.groupby("region")["text"].apply(sorted).tolist() == [
        ["brightness 100.000", "brightness 50.000"],
        ["brightness 100.000"],
    ]


def test_a_failure_keeps_finished_captions_and_the_same_call_continues(city: City, tmp_path: Path) -> None:
    made(city, tmp_path / "whole", modalities=["svi"])
    CALLS.clear()
    BREAK["after"] = 3
    with pytest.raises(
        RunError, match=r"'brightness' \(this process\) failed on svi 13 to 16 of 34: RuntimeError: the"
    ):
        made(city, tmp_path / "cut", modalities=["svi"])
    BREAK.clear()
    CALLS.clear()
    made(city, tmp_path / "cut", modalities=["svi"])
    assert sum(len(batch) for batch in CALLS) == 34 - 12
    assert [batch.start for batch in CALLS] == list(range(12, 34, 4))
    for name in ("svi.jsonl", "svi.parquet", "svi.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_captions_are_not_computed_again(city: City, tmp_path: Path) -> None:
    first = made(city, tmp_path, modalities=["svi"])
    CALLS.clear()
    assert made(city, tmp_path, modalities=["svi"]) == first
    assert made(city, tmp_path, modalities=["svi"], settings={"batch_size": 7}) == first
    assert not CALLS


@pytest.mark.parametrize("name", ["svi.jsonl", "svi.parquet", "svi.json"])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_file_of_finished_captions_that_was_cut_is_written_again(
    city: City, tmp_path: Path, name: str, share: float
) -> None:
    first = made(city, tmp_path, modalities=["svi"])
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    CALLS.clear()
    (tmp_path / name).write_bytes(written[name][: int(share * len(written[name]))])
    assert made(city, tmp_path, modalities=["svi"]) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert not CALLS


def test_captions_that_were_edited_stay(city: City, tmp_path: Path) -> None:
    made(city, tmp_path, modalities=["svi"])
    written = (tmp_path / "svi.jsonl").read_text()
    without_last = "".join(written.splitlines(keepends=True)[:-1])
    for edited in (written.replace("bright", "sunny"), without_last, without_last.rstrip("\n")):
        (tmp_path / "svi.jsonl").write_text(edited)
        made(city, tmp_path, modalities=["svi"])
        assert (tmp_path / "svi.jsonl").read_text() == edited


def test_an_interrupted_job_continues_with_smaller_batches(city: City, tmp_path: Path) -> None:
    BREAK.update(after=2, error=MemoryError())
    with pytest.raises(RunError, match=r"out of memory; .*smaller --set batch_size"):
        made(city, tmp_path, modalities=["svi"])
    BREAK.clear()
    made(city, tmp_path, modalities=["svi"], settings={"batch_size": 3})
    assert len(rows(tmp_path)) == 34


def test_resuming_with_other_settings_is_refused(city: City, tmp_path: Path) -> None:
    BREAK["after"] = 2
    with pytest.raises(RunError):
        made(city, tmp_path, modalities=["svi"])
    BREAK.clear()
    with pytest.raises(UserError, match=r'svi\.partial\.jsonl: .*word "brightness", not "light".*remove the file'):
        made(city, tmp_path, modalities=["svi"], settings={"word": "light"})
    made(city, tmp_path, modalities=["svi"])
    with pytest.raises(UserError, match=r'svi\.json: .*word "brightness", not "light"'):
        made(city, tmp_path, modalities=["svi"], settings={"word": "light"})


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "json"])
def test_a_file_of_the_user_is_not_overwritten(city: City, tmp_path: Path, suffix: str) -> None:
    user_file = tmp_path / f"svi.{suffix}"
    user_file.write_text('{"image": "1.png", "caption": "mine"}\n')
    with pytest.raises(UserError, match=rf"svi\.{suffix}: .*choose another --out"):
        made(city, tmp_path, modalities=["svi"])
    assert "mine" in user_file.read_text() and not CALLS


def test_a_job_interrupted_between_its_files_continues(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def killed(path: Path) -> Iterator[Path]:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        with atomic_path(path) as temporary:
            yield temporary

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("urbankit.captioning.files.atomic_path", killed)
        made(city, tmp_path, modalities=["svi"])
    assert {path.suffix for path in tmp_path.glob("svi.*")} == {".jsonl", ".parquet"}
    CALLS.clear()
    [files] = made(city, tmp_path, modalities=["svi"])
    assert files.made == 34 and not CALLS


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(sources: Path, city: City, tmp_path: Path) -> None:
    data = shutil.copytree(sources, tmp_path / "data")
    names = city.images("svi").image_ids
    (data / names[5]).write_bytes(b"no picture")
    (data / names[9]).unlink()
    [files] = made(city, tmp_path / "out", modalities=["svi"], data=data)
    assert files.made == 32
    assert files.skipped == {"that cannot be read": 2}
    assert names[5] in files.unreadable[0] and "damaged" in files.unreadable[0]
    assert names[9] in files.unreadable[1] and "not found" in files.unreadable[1]
    assert [row["image"] for row in rows(tmp_path / "out")] == [n for i, n in enumerate(names) if i not in (5, 9)]
    assert {len(batch) for batch in CALLS} == {4, 3, 2}


def test_sources_are_read_larger_than_the_city_stores_them(sources: Path, city: City, tmp_path: Path) -> None:
    assert "from 96 x 64 pixels, as the city stores them" in made(city, tmp_path / "kept", modalities=["svi"])[0].note
    CALLS.clear()
    rsi, svi = made(city, tmp_path / "read", data=sources)
    assert rsi.note is None and svi.note is None
    shapes = {batch.modality: batch.pixels[0].shape for batch in CALLS}
    assert shapes["rsi"] == (448, 448, 3)
    assert shapes["svi"] == (*Image.open(sources / city.images("svi").image_ids[0]).size[::-1], 3)
    # The same ground, so about the same mean.
    small, large = city.images("rsi").read(np.array([0])), next(b for b in CALLS if b.modality == "rsi").pixels[0]
    assert abs(small.mean() - large.mean()) < 2


def test_mosaic_is_cut_in_one_thread(sources: Path, city: City, tmp_path: Path, monkeypatch) -> None:
    threads, cut = [], caption_sources.cut_patches

    def watched(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return cut(*arguments)

    monkeypatch.setattr(caption_sources, "cut_patches", watched)
    made(city, tmp_path, modalities=["rsi"], data=sources)
    assert len(threads) == 4 and len(set(threads)) == 1


def test_a_wrong_folder_of_sources_is_refused(city: City, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the data folder that the city was prepared from"):
        made(city, tmp_path / "out", data=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there is no 'satellite\.tif'"):
        made(city, tmp_path / "out", data=tmp_path / "empty")
    with pytest.raises(UserError, match=r"none of the 34 of svi could be described\. The first: .*image not found"):
        made(city, tmp_path / "out", modalities=["svi"], data=tmp_path / "empty")
    assert not list((tmp_path / "out").glob("*.jsonl"))


@pytest.mark.parametrize(
    ("returns", "fault"),
    [
        (lambda batch: None, "returned nothing for svi 1 to 4 of 34"),
        (lambda batch: "a road", "returned a str for"),
        (lambda batch: [Caption("a road")] * 3, "returned 3 captions instead of 4"),
        (lambda batch: [Caption("a road")] * 3 + [None], "returned a NoneType as a caption"),
        (lambda batch: ["a road"] * 4, "returned a str as a caption"),
        (lambda batch: [Caption(5)] * 4, "returned a int as the text of a caption"),
        (
            lambda batch: [Caption("a \ud800 road")] * 4,
            r"returned a text that is no valid Unicode ('\ud800') as a caption",
        ),
        (lambda batch: [Caption("a road", 2.0)] * 4, "returned a float as the number of tokens of a caption"),
        (lambda batch: [Caption("a road", True)] * 4, "returned a bool as the number of tokens of a caption"),
        (lambda batch: [Caption("a road", -1)] * 4, "returned -1 as the number of tokens of a caption"),
    ],
)
def test_wrong_captions_are_refused_with_the_captioner_and_the_fix(city, tmp_path: Path, returns, fault: str) -> None:
    BREAK["returns"] = returns
    with pytest.raises(UserError) as caught:
        made(city, tmp_path, modalities=["svi"])
    assert f"captioner 'brightness' (this process) {fault}" in str(caught.value)
    assert "`caption` must return a list with one Caption(text)" in str(caught.value)


def test_token_counts_may_be_numpy_integers(city: City, tmp_path: Path) -> None:
    BREAK["returns"] = lambda batch: [Caption("a road", np.int64(2))] * len(batch)
    made(city, tmp_path, modalities=["svi"])
    assert rows(tmp_path)[0]["tokens"] == 2


def test_a_captioner_that_returns_no_words_is_stopped_early(
    city, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "EMPTY_AFTER", 8)
    BREAK["returns"] = lambda batch: [Caption(" ")] * len(batch)
    with pytest.raises(UserError, match="returned no word for any of the first 8 of svi; or choose another captioner"):
        made(city, tmp_path, modalities=["svi"])
    assert len(CALLS) == 2
    BREAK.clear()
    made(city, tmp_path, modalities=["svi"])  # nothing is left that stands in the way


def test_unknown_modalities_captioners_and_settings_are_refused(city: City, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image source 'svj'\. Did you mean 'svi'"):
        made(city, tmp_path, modalities=["svj"])
    with pytest.raises(UserError, match="unknown captioner 'brightnes'"):
        made(city, tmp_path, captioner="brightnes")
    with pytest.raises(UserError, match="captioner 'brightness': words: Extra inputs"):
        made(city, tmp_path, settings={"words": 3})


def test_a_city_without_images_needs_the_template_captioner(sources: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sources, tmp_path / "sources")
    spec = yaml.safe_load((folder / "city.yaml").read_text())
    del spec["images"]
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    city = City.prepare(folder / "city.yaml", out=tmp_path / "city")
    with pytest.raises(UserError, match=r"has no images to describe;.*--captioner template"):
        made(city, tmp_path / "out")
    [files] = made(city, tmp_path / "out", captioner="template")
    assert (files.modality, files.key, files.made) == ("rsi", "region_id", 16)


def test_bands_can_be_chosen_for_images_that_are_not_rgb(
    city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(city, tmp_path / "bgr", modalities=["rsi"], bands=[3, 2, 1])
    right = city.images("rsi").read(np.array([0]))[0].transpose(1, 2, 0)
    assert np.array_equal(CALLS[0].pixels[0], right[..., ::-1])
    with pytest.raises(UserError, match=r"--bands 4,2,1: must be one or three of 1 to 3, the bands of 'rsi'"):
        made(city, tmp_path / "out", modalities=["rsi"], bands=[4, 2, 1])

    class Multispectral:
        name, bands, band_names = "rsi", 4, ["b1", "b2", "b3", "b4"]

    with pytest.raises(UserError, match=r"have 4 bands \(b1, b2, b3, b4\).*name them with --bands RED,GREEN,BLUE"):
        caption_sources._colours(Multispectral(), None)
    assert caption_sources._colours(Multispectral(), [3, 2, 1]) == [2, 1, 0]


def test_float_pixels_are_scaled_to_colours() -> None:
    source = SimpleNamespace(dtype="float32", band_mean=np.array([10.0]), band_std=np.array([5.0]))
    pixels = np.array([0, 10, 20, 99, np.nan], np.float32).reshape(1, 1, 1, 5)
    assert caption_sources._rgb(pixels, source, [0, 0, 0])[0, 0, :, 1].tolist() == [0, 128, 255, 255, 0]


def test_the_next_batches_are_loaded_while_one_is_captioned(city, tmp_path: Path, monkeypatch) -> None:
    """The first call of `caption` waits until a later batch was loaded: without a thread it would wait for ever."""
    loaded, early = threading.Event(), []

    def load(self: Any, batch: Batch) -> Batch:
        if batch.start > 0:
            loaded.set()
        return batch

    def caption(self: Any, batch: Batch) -> list[Caption]:
        early.append(loaded.wait(timeout=20))
        return [Caption("a road")] * len(batch)

    monkeypatch.setattr(Brightness, "load", load)
    monkeypatch.setattr(Brightness, "caption", caption)
    made(city, tmp_path, modalities=["svi"])
    assert all(early)


def test_errors_while_loading_or_starting_name_the_captioner(city, tmp_path: Path, monkeypatch) -> None:
    def fails(self: Any, *args: Any) -> None:
        raise KeyError("lens")

    monkeypatch.setattr(Brightness, "load", fails)
    with pytest.raises(RunError, match=r"captioner 'brightness' \(this process\) failed on svi 1 to 4 of 34: KeyError"):
        made(city, tmp_path, modalities=["svi"])
    monkeypatch.setattr(Brightness, "__init__", fails)
    with pytest.raises(RunError, match=r"captioner 'brightness' \(this process\) failed on the city"):
        made(city, tmp_path, modalities=["svi"])


def test_two_caption_jobs_in_one_folder_are_refused(city: City, tmp_path: Path) -> None:
    with file_lock(tmp_path / ".urbankit-lock"), pytest.raises(UserError, match="another caption uses this folder"):
        made(city, tmp_path)


def test_attached_captions_become_captions_of_the_city(copied: City, sources: Path, tmp_path: Path) -> None:
    made(copied, tmp_path / "out", attach=True)
    again = City.open(copied.path)
    assert again.caption_sources == ["rsi", "svi"]
    assert again.content_hash != copied.content_hash
    assert again.captions("svi")["text"].tolist() == [row["caption"] for row in rows(tmp_path / "out")]
    assert ("captions", "svi", 15) in [one[:3] for one in again.report.coverage()]
    keys = [one.key for one in again.report.sources]
    assert keys.index("images.svi") < keys.index("captions.rsi") < keys.index("poi")
    # Other captions may take their place; preparing anew leaves what city.yaml names.
    made(again, tmp_path / "other", attach=True, settings={"word": "light"})
    assert City.open(copied.path).captions("rsi")["text"][0].startswith("light")
    prepared = City.prepare(sources / "city.yaml", out=copied.path)
    assert prepared.caption_sources == [] and prepared.content_hash == copied.content_hash


@pytest.mark.parametrize("fails", ["report.PrepareReport.write", "prepare.attach.write_manifest"])
def test_a_disk_that_fills_up_while_attaching_leaves_the_city_as_it_was(
    copied: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    made(copied, tmp_path / "out", attach=True)
    before = City.open(copied.path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(f"urbankit.city.{fails}", full)
        made(before, tmp_path / "light", attach=True, settings={"word": "light"})
    after = City.open(copied.path)
    assert after.content_hash == before.content_hash
    assert after.captions("rsi")["text"].str.startswith("brightness").all()
    made(after, tmp_path / "light", attach=True, settings={"word": "light"})
    changed = City.open(copied.path)
    assert changed.captions("rsi")["text"].str.startswith("light").all()
    assert len(list((copied.path / "captions").glob("*.parquet"))) == 2


def test_captions_of_a_city_that_changed_meanwhile_are_not_attached(
    copied: City, sources: Path, tmp_path: Path
) -> None:
    captions = Captions(file="svi.jsonl", image="image", text="caption")
    made(copied, tmp_path / "out")
    made(copied, tmp_path / "out", modalities=["rsi"], attach=True)
    attach_captions(copied, "svi", captions, tmp_path / "out")  # a city opened before the other captions were attached
    assert City.open(copied.path).caption_sources == ["rsi", "svi"]
    folder = shutil.copytree(sources, tmp_path / "sources")
    spec = yaml.safe_load((folder / "city.yaml").read_text())
    spec["images"]["svi"]["size"] = 32
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    again = City.prepare(folder / "city.yaml", out=copied.path)
    with pytest.raises(UserError, match="was prepared from other sources while captions of 'svi' were made"):
        attach_captions(copied, "svi", captions, tmp_path / "out")
    assert City.open(copied.path).content_hash == again.content_hash


def test_captions_of_city_yaml_are_not_replaced(tiny_city: City, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has captions of 'rsi' that its city\.yaml names; change captions\.rsi there"):
        made(tiny_city, tmp_path, attach=True)
    assert not CALLS


def test_the_captioner_in_the_docs_works(city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "captions.md"
    [code] = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))

    class Docs:
        @staticmethod
        @hookimpl
        def register_captioners(register: Any) -> None:
            register("of-the-docs", "of_the_docs:Brightness", "from docs/captions.md")

    registry.add_plugin(Docs, "docs")
    made(city, tmp_path / "out", captioner="of-the-docs", settings={"bright": 0}, modalities=["rsi"])
    assert {row["caption"] for row in rows(tmp_path / "out", "rsi")} == {"a bright place"}
