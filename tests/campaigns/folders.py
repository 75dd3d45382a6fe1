"""What urbankit wrote and reads again: a changed file is refused, or gives the same numbers. See `FOLDERS`."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from campaigns.attempts import Case
from campaigns.formats import Make, small_sources
from campaigns.mutations import Change, change_bytes, change_json, change_text, change_tree, dump
from helpers.short_run import short_run
from rich.console import Console

import urbankit
from urbankit.city.city import City
from urbankit.city.manifest import write_manifest
from urbankit.evaluation.floors import cached_array
from urbankit.modalities.cache.files import Features, write_features
from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.embeddings.read import read_embeddings
from urbankit.modalities.embeddings.rules import Rules
from urbankit.modalities.encode import encode
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.vit import ViT
from urbankit.pipeline.check import check_path
from urbankit.pipeline.model import Model
from urbankit.report.card import model_card
from urbankit.runs.compare import compare_runs
from urbankit.runs.folder import Run
from urbankit.runs.records import run_results
from urbankit.testing import tiny_city
from urbankit.training import checkpoint
from urbankit.utils import hashes
from urbankit.utils.errors import UserError
from urbankit.utils.files import cache_folder, file_check
from urbankit.utils.ledger import LEDGER, record


def change_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, whose length is made right again, or its bytes."""
    if rng.random() < 0.5:
        return change_bytes(rng, content)
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length]
    changed = change_text(rng, header) if rng.random() < 0.5 else dump(change_tree(rng, json.loads(header)))
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]


def change_lines(rng: random.Random, content: bytes) -> bytes:
    """Change one line of JSON lines, or the text."""
    lines = content.splitlines()
    if rng.random() < 0.5 or not lines:
        return change_text(rng, content)
    row = rng.randrange(len(lines))
    lines[row] = change_json(rng, lines[row])
    return b"\n".join(lines) + b"\n"


CHANGES: dict[str, Change] = {
    ".json": change_json, ".jsonl": change_lines, ".safetensors": change_safetensors, ".yaml": change_text,
    ".md": change_text, ".html": change_text,
}  # fmt: skip


def _all_files(folder: Path, *skipped: str) -> list[tuple[Path, Change]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in skipped]
    return [(path, CHANGES.get(path.suffix, change_bytes)) for path in files if not path.name.endswith("lock")]


def _plain(value: Any) -> Any:
    """A value whose `repr` is complete."""
    if isinstance(value, pd.DataFrame):
        return {name: [_plain(one) for one in value[name]] for name in value}
    if isinstance(value, np.ndarray | torch.Tensor):
        array = np.asarray(value)
        return (array.shape, array.dtype.str, array.tolist() if array.dtype == object else array.tobytes())
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _check(folder: Path) -> None:
    """`urbankit check` names what is damaged, or refuses, in a message."""
    with suppress(UserError):
        check_path(folder)


def _city(folder: Path) -> City:
    return small_sources(folder / "sources").prepare(out=folder / "city")


def _numbers_of_city(folder: Path) -> Any:
    city = City.open(folder)
    counts, flows = city.poi_counts(), city.flows()
    assert counts is not None and flows is not None
    return _plain(
        [
            city.regions, counts[0].toarray(), counts[1], flows.toarray(), city.flow_times(), city.captions(),
            {name: city.table(name) for name in city.tables},
            {name: city.target(name).values for name in city.target_names},
            {name: city.images(name).read(list(range(len(city.images(name))))) for name in city.image_sources},
        ]
    )  # fmt: skip


def _prepared(folder: Path) -> Case:
    return _checked(_city(folder).path, _numbers_of_city)


def _forged_city(folder: Path) -> Case:
    """The manifest is changed, and its hash made right again."""
    city = _city(folder).path
    path = city / "manifest.json"

    def load() -> None:
        content = path.read_bytes()
        with suppress(ValueError, AttributeError, TypeError):
            write_manifest(city, json.loads(content))
        _check(city)
        opened = City.open(city)
        opened.check()
        _numbers_of_city(city)
        opened.report.print(Console(file=io.StringIO()))
        repr(opened), opened._repr_html_(), opened.coverage(), opened.any_modality(), opened.access

    return Case([(path, lambda rng, content: dump(change_tree(rng, json.loads(content))))], load)


def _city_again(folder: Path) -> Case:
    """A changed city is prepared again: the numbers are those of the sources."""
    city = _city(folder).path
    sources = small_sources(folder / "sources")

    def load() -> Any:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(city, copy)
        sources.prepare(out=copy)
        return _numbers_of_city(copy)

    return Case(_all_files(city), load, same=True)


def _tiny_city(folder: Path) -> City:
    """A copy of the tiny city."""
    if not (folder / "tiny").exists():
        shutil.copytree(tiny_city().path, folder / "tiny")
    return City.open(folder / "tiny")


def _run(folder: Path) -> Run:
    """A run on the tiny city."""
    evaluation = {"splits": ["random"], "seeds": [0], "min_class_size": 1, "floors": ["mean"], "controls": []}
    tasks: dict[str, Any] = {"density": {}, "land_use": {}}
    return short_run(
        _tiny_city(folder),
        folder / "run",
        modalities={"poi": {"name": "poi_counts"}},
        tasks=tasks,
        evaluation=evaluation,
        predict={"folds": 3},
    )


def _numbers_of_run(folder: Path) -> Any:
    run = Run.open(folder)
    frames = ["metrics", "predictions", "floor_predictions", "history", "view_measures"]
    tables = {name: getattr(run, name) for name in frames if run.has(f"{name}.parquet")}
    results = run_results(run)
    cross = run.cross_fits if run.has("cross_fit.parquet") else None
    return [
        _plain([tables, run.embeddings, run.vectors, run.blocks(), run.recipe_text, run.manifest, results]),
        run.recipe, str(run.table()), [repr(table) for table in compare_runs([folder, folder], ["a", "b"])],
        model_card(run), run._repr_html_(), cross if cross is None else sorted(cross[0]),
    ]  # fmt: skip


def _of_run(folder: Path) -> Case:
    return _checked(_run(folder).path, _numbers_of_run)


def _checked(folder: Path, numbers: Callable[[Path], Any]) -> Case:
    """Any file of a folder is changed; the folder is checked, and its numbers are read."""

    def load() -> Any:
        _check(folder)
        return numbers(folder)

    return Case(_all_files(folder), load, same=True)


def _re_recorded(folder: Path, read: Callable[[], object]) -> Callable[[], None]:
    """Reads a folder after its ledger got the hashes of changed files."""
    ledger = (folder / LEDGER).read_bytes()
    files = {path: path.read_bytes() for path, _ in _all_files(folder, LEDGER)}

    def load() -> None:
        (folder / LEDGER).write_bytes(ledger)
        for path, content in files.items():
            if path.read_bytes() != content:
                record(folder, path, file_check(path))
        _check(folder)
        read()

    return load


def _forged_run(folder: Path) -> Case:
    """A file of a run is changed, and its hash in the ledger made right again."""
    run = _run(folder).path
    return Case(_all_files(run, LEDGER), _re_recorded(run, lambda: _numbers_of_run(run)))


def _model_of(folder: Path) -> tuple[Path, City]:
    run = urbankit.Run.open(_run(folder).path)
    run.export("model", out=folder / "model")
    return folder / "model", _tiny_city(folder)


def _numbers_of_model(folder: Path, city: City) -> Any:
    model = Model.open(folder)
    repr(model)
    return _plain([dict(model.state), sorted(model.heads), model.predict(city, tasks=None), model.embed(city)])


def _of_model(folder: Path) -> Case:
    model, city = _model_of(folder)

    def load() -> Any:
        _check(model)
        return _numbers_of_model(model, city)

    return Case(_all_files(model), load, same=True)


def _forged_model(folder: Path) -> Case:
    """A file of a model is changed, and its hash in the ledger made right again."""
    model, city = _model_of(folder)
    return Case(_all_files(model, LEDGER), _re_recorded(model, lambda: _numbers_of_model(model, city)))


def _of_checkpoint(folder: Path) -> Case:
    path = folder / "c.safetensors"
    checkpoint.save(path, {"a": torch.ones(30, 40), "b": torch.zeros(2)}, {"stage": "pretrain", "epoch": 3})

    def load() -> Any:
        tensors, facts = checkpoint.load(path)
        return [_plain(tensors), facts]

    return Case([(path, change_safetensors)], load, same=True)


def _feature_file(suffix: str) -> Make:
    def make(folder: Path) -> Case:
        city, path = _city(folder), folder / f"features{suffix}"
        vectors = np.arange(27, dtype=np.float32).reshape(9, 3)
        write_features(path, Features(city.region_ids, np.arange(9), vectors, "key"))
        return Case([(path, CHANGES.get(suffix, change_bytes))], lambda: _numbers_of_features(path, city), same=True)

    return make


def _numbers_of_features(path: Path, city: City) -> Any:
    table = read_embeddings(path, city, Rules(), "modalities.x")
    return _plain([table.values, table.region, table.names])


def _of_features(form: Any) -> Make:
    def make(folder: Path) -> Case:
        city = _city(folder)
        vit = ViT(ViT.Params(patch_size=4, hidden_size=16, layers=1, heads=1, trainable="none"), city, "rsi", 8)
        features = encode(RegionEncoder(vit, chunk=4), city, folder / "features", form=form, rows=4)

        def load() -> Any:
            _check(features)
            return _numbers_of_features(features, city)

        return Case(_all_files(features), load, same=True)

    return make


def _cache(folder: Path) -> Case:
    """Entries of the cache, a cached hash and a note of a written file: damaged ones stop nothing."""
    store, large = FeatureStore(), folder / "large.bin"
    large.write_bytes(b"x" * 4096)
    store.put("0" * 64, {"a": torch.arange(12.0)})

    def load() -> Any:
        tensors = store.get("0" * 64) or {"a": torch.arange(12.0)}
        array = cached_array(["mean"], lambda: np.arange(40.0))
        with mock.patch.multiple(hashes, LARGE=1, SETTLED=-1e9):  # so that the hash of a small file is cached
            return [tensors["a"].tolist(), array.tolist(), hashes.cached_hash(large)]

    load()
    return Case(_all_files(cache_folder()), load, same=True, refusable=False)


FOLDERS: dict[str, Make] = {
    "checkpoint": _of_checkpoint,
    "prepared city": _prepared,
    "forged city": _forged_city,
    "city prepared again": _city_again,
    "run": _of_run,
    "forged run": _forged_run,
    "model": _of_model,
    "forged model": _forged_model,
    "features parquet": _of_features("parquet"),
    "features safetensors": _of_features("safetensors"),
    "feature file .parquet": _feature_file(".parquet"),
    "feature file .safetensors": _feature_file(".safetensors"),
    "cache": _cache,
}
