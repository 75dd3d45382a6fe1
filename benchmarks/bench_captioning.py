"""Captioning beside the model alone: `python benchmarks/bench_captioning.py [--model NAME] [--images 128]`

Prints images a second of loading alone (JPEG files of 640 x 640 pixels decoded, and the processor), of transformers'
`generate` alone on batches that are in memory already, and of the whole job, which does both and has every batch on
disk before the next; and the share of `generate` alone that the job reaches. Without `--model` it is a BLIP-2 of random
weights, `--width` wide, which says all of its tokens. On a CPU model and loading share the processors; `--wait 2` waits
two seconds a batch instead of calling `generate`, as for a GPU, which leaves them free.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
import yaml
from PIL import Image

from urbankit import City
from urbankit.captioning.captioners.vlm import VLM
from urbankit.captioning.run import _Job
from urbankit.captioning.sources import CaptionItems, find_items
from urbankit.utils.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint in a folder or on the hub; default random weights")
    parser.add_argument("--width", type=int, default=256, help="of the random BLIP-2")
    parser.add_argument("--wait", type=float, help="seconds a batch to wait instead of calling `generate`")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=77)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        city = pictures(folder / "sources", options.images)
        model = options.model or random_blip2(folder / "blip2", options.width)
        params = VLM.Params(model=str(model), batch_size=options.batch, max_tokens=options.tokens)
        captioner = VLM(params, city)
        subjects = find_items(captioner, city, "svi", folder / "sources")
        if options.wait is not None:
            captioner._model.generate = partial(wait, options.wait)
        load, bare = alone(captioner, subjects)
        job = _Job(captioner, "vlm", "vlm", folder / "captions", Progress(quiet=True))
        (folder / "captions").mkdir()
        started = perf_counter()
        job.run(subjects, city)
        whole = len(subjects) / (perf_counter() - started)
    print(f"device {captioner.device}, {captioner.precision}, batches of {options.batch}, {options.tokens} tokens")
    print(f"loading alone  {load:8.2f} images/s, in one thread")
    print(f"generate alone {bare:8.2f} images/s")
    print(f"the whole job  {whole:8.2f} images/s, {whole / bare:.1%} of it")


def alone(captioner: VLM, subjects: CaptionItems) -> tuple[float, float]:
    """Images a second of loading and of `generate`, after a first batch that is not counted."""
    from urbankit.captioning.captioners.base import Batch

    size, loading, spent = captioner.batch_size, 0.0, 0.0
    starts = [0, *range(0, len(subjects), size)]
    for number, start in enumerate(starts):
        started = perf_counter()
        places = range(start, min(start + size, len(subjects)))
        batch = Batch("svi", start, subjects.regions[list(places)], subjects.read(places))
        _, inputs = captioner.load(batch)
        loading += (perf_counter() - started) if number else 0.0
        dtype = torch.float32 if captioner.precision == "fp32" else torch.bfloat16
        inputs = inputs.to(captioner.device, dtype)
        started = perf_counter()
        with torch.inference_mode():
            captioner._model.generate(**inputs, max_new_tokens=captioner.params.max_tokens, do_sample=False)
        if captioner.device.type == "cuda":
            torch.cuda.synchronize()
        spent += (perf_counter() - started) if number else 0.0
    return len(subjects) / loading, len(subjects) / spent


def wait(seconds: float, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
    """One word after the prompt, later."""
    sleep(seconds)
    return torch.cat([input_ids, torch.full_like(input_ids[:, :1], 50)], dim=1)


def pictures(folder: Path, number: int) -> City:
    """One region with `number` street views of waves and noise."""
    folder.mkdir()
    rng, (y, x) = np.random.default_rng(0), np.indices((640, 640))
    for i in range(number):
        waves = [128 + 90 * np.sin((x * a + y * b) / 90) for a, b in rng.normal(size=(3, 2))]
        pixels = np.stack(waves, -1) + rng.normal(0, 12, (640, 640, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=88)
    square = gpd.GeoDataFrame({"id": ["a"]}, geometry=[shapely.box(-0.01, 51, 0.01, 51.02)], crs="EPSG:4326")
    square.to_file(folder / "regions.gpkg")
    names = [f"{i}.jpg" for i in range(number)]
    pd.DataFrame({"image": names, "lon": 0.0, "lat": 51.01}).to_csv(folder / "views.csv", index=False)
    spec = {
        "name": "bench",
        "regions": {"file": "regions.gpkg", "id": "id"},
        "images": {"svi": {"points": "views.csv", "image": "image", "size": 64}},
    }
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    return City.prepare(folder / "city.yaml", out=folder / "prepared")


def random_blip2(folder: Path, width: int) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from helpers.tiny_vlm import write_blip2

    return write_blip2(folder, width=width, layers=4, side=224, ends=False)


if __name__ == "__main__":
    main()
