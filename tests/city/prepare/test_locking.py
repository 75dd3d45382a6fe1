"""Processes that change one city take turns: those that prepare it, and those that attach captions to it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from urbankit import City
from urbankit.city.prepare import layers
from urbankit.city.prepare.attach import attach_captions
from urbankit.city.spec import Captions
from urbankit.testing.city import GRID, N, write_grid
from urbankit.utils.errors import UserError
from urbankit.utils.locks import LOCK, file_lock

SPEC = Captions(file="rsi.jsonl", region="region", text="text")


@pytest.fixture
def city(tmp_path: Path) -> City:
    """A prepared city of regions, points, flows and a table; beside it captions of its regions."""
    (tmp_path / "sources").mkdir()
    lines = [json.dumps({"region": f"r{i:02d}", "text": f"place {i}"}) for i in range(N)]
    (tmp_path / "rsi.jsonl").write_text("\n".join(lines))
    return City.prepare(write_grid(tmp_path / "sources", np.arange(N)), out=tmp_path / "city")


def begun(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that does the work, and where its result will be, an exception too."""
    results: list[Any] = []

    def do() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread, results


def ended(thread: threading.Thread, results: list[Any]) -> Any:
    thread.join(60)
    (result,) = results
    return result


def test_attaching_captions_waits_for_a_running_prepare(city, tmp_path, monkeypatch):
    changing, go_on = threading.Event(), threading.Event()
    build = layers.build_flows

    def slow(*arguments: Any) -> Any:
        changing.set()
        go_on.wait(60)
        return build(*arguments)

    monkeypatch.setattr(layers, "build_flows", slow)
    spec = tmp_path / "sources" / "city.yaml"
    spec.write_text(GRID.format(crs="EPSG:32618").replace(", time: time", ""))
    preparing = begun(lambda: City.prepare(spec, out=city.path))
    assert changing.wait(60)
    attaching = begun(lambda: attach_captions(city, "rsi", SPEC, tmp_path))
    attaching[0].join(0.5)
    assert attaching[0].is_alive()
    go_on.set()
    prepared, attached = ended(*preparing), ended(*attaching)
    assert attached.caption_sources == ["rsi"] and len(attached.captions("rsi")) == N
    assert attached.layer_hashes("flows") == prepared.layer_hashes("flows") != city.layer_hashes("flows")


def test_prepare_waits_for_captions_that_are_being_attached(city, tmp_path):
    with file_lock(city.path / LOCK):
        preparing = begun(lambda: City.prepare(tmp_path / "sources" / "city.yaml", out=city.path))
        preparing[0].join(0.5)
        assert preparing[0].is_alive()
    assert ended(*preparing).content_hash == city.content_hash
    attached = attach_captions(city, "rsi", SPEC, tmp_path)
    (file,) = attached.manifest["parts"]["captions.rsi"]["files"]
    assert City.prepare(tmp_path / "sources" / "city.yaml", out=city.path).caption_sources == []
    assert not (city.path / file).exists()


def test_prepare_that_waited_for_a_failed_prepare_starts_again(city, tmp_path):
    """The first leaves no folder where none was, and so no lock that the second could have waited for."""
    spec, out = tmp_path / "sources" / "city.yaml", tmp_path / "new"
    right = spec.read_text()
    with file_lock(out / LOCK):
        spec.write_text(right.replace("column: category", "").replace("category: category", "category: kind"))
        wrong = begun(lambda: City.prepare(spec, out=out))
        wrong[0].join(0.5)
        spec.write_text(right)
        well = begun(lambda: City.prepare(spec, out=out))
        well[0].join(0.5)
        assert wrong[0].is_alive() and well[0].is_alive()
    assert isinstance(ended(*wrong), UserError)
    assert ended(*well).n_regions == City.open(out).n_regions == N


def test_lock_file_removed_while_waiting_is_created_again(tmp_path):
    lock = tmp_path / "folder" / "lock"

    def waits() -> bool:
        with file_lock(lock), pytest.raises(BlockingIOError), file_lock(lock, wait=False):
            raise AssertionError("two hold one lock")
        return lock.exists()

    with file_lock(lock):
        waiting = begun(waits)
        waiting[0].join(0.3)
        lock.unlink()
        lock.parent.rmdir()
    assert ended(*waiting) is True
