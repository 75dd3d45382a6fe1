"""Frozen encoding: how near reading, resizing and pooling let it come to the bare model's forward speed.

    python benchmarks/bench_encode.py [--images 1024] [--side 256] [--device cpu] [--precision fp32]

Images lie in shards as `prepare` leaves them, at another size than the model's. A ViT-B/32 of 224 pixels (of random
weights, as speed does not depend on them) computes their vectors: on batches in memory that have its size already, and
through `RegionEncoder.vectors`, which reads ahead, resizes and normalises. Both go in turns, chunk by chunk of 128,
so that another program on the machine slows both alike; the last line is the share of the bare speed.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

BASE_32 = {"patch_size": 32, "image_size": 224, "hidden_size": 768, "layers": 12, "heads": 12, "mlp_ratio": 4.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--side", type=int, default=256, help="side of the prepared images in pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(source(Path(folder), options.images, options.side), options.device, options.precision)


def source(folder: Path, number: int, side: int) -> Any:
    """Random images in shards, one a region."""
    from urbankit.city.image_source import ImageSource
    from urbankit.city.io.shards import write_shards

    draw = np.random.default_rng(0)
    batches = (draw.integers(0, 256, (min(64, number - b), 3, side, side), np.uint8) for b in range(0, number, 64))
    names = ["red", "green", "blue"]
    shards = write_shards(folder, batches, (3, side, side), "uint8", names)
    rows, names_of_files = np.arange(number), [f"{i}.png" for i in range(number)]
    index = pd.DataFrame({"image_id": names_of_files, "region": rows, "file": names_of_files, "lon": 0.0, "lat": 0.0})
    index.to_parquet(folder / "index.parquet", index=False)
    entry = {"name": "svi", "bands": 3, "band_names": names, "size": [side, side], "dtype": "uint8"}
    statistics = {"band_mean": shards.mean.tolist(), "band_std": shards.std.tolist()}
    return ImageSource.open(folder, {**entry, **statistics, "shards": shards.files, "content_hash": "none"})


@torch.no_grad()
def compare(images: Any, device: str, precision: str) -> None:
    from urbankit.modalities.pooling import RegionEncoder
    from urbankit.modalities.vit import ViT

    city = SimpleNamespace(images=lambda _: images, image_sources=["svi"], n_regions=len(images), content_hash="")
    encoder = ViT(ViT.Params(**BASE_32, trainable="none"), city, "svi", dim=64).to(device).eval()
    dtype = torch.bfloat16 if precision == "bf16" else None
    pool = RegionEncoder(encoder)
    held = encoder._pixels(encoder.load(np.arange(min(pool.chunk, len(images)))).to(device))

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return perf_counter()

    def bare() -> torch.Tensor:
        with torch.autocast(device, dtype=dtype) if dtype else nullcontext():
            return encoder.model(held).last_hidden_state[:, 0]

    bare()
    model_s = fed_s = 0.0
    seen = 0
    fed = pool.vectors(dtype)
    next(fed)  # the first chunk cannot be read ahead
    for _ in range(len(images) // pool.chunk - 1):
        begun = wait()
        bare()
        between = wait()
        rows, _ = next(fed)
        model_s, fed_s, seen = model_s + between - begun, fed_s + wait() - between, seen + len(rows)
    print(f"{'bare model':20} {seen / model_s:9,.0f} images/s")
    print(f"{'frozen encoding':20} {seen / fed_s:9,.0f} images/s, {model_s / fed_s:.0%} of the bare model")


if __name__ == "__main__":
    main()
