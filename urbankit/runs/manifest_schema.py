"""The types of the values in the manifest of a run that urbankit reads again."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from urbankit.utils.forms import faults

STRICT = ConfigDict(strict=True)
Texts = list[str]
Number = int | float


@with_config(STRICT)
class Block(TypedDict):
    """A block of the embedding."""

    name: str
    width: int


@with_config(STRICT)
class Training(TypedDict):
    """What a training took."""

    epochs: int
    best_epoch: dict[str, int]
    seconds_per_epoch: Number


@with_config(STRICT)
class Tracked(TypedDict):
    """What a tracker has got."""

    name: str
    params: dict[str, Any]
    run: str | None
    epochs: dict[str, int]
    scores: bool
    status: str | None


@with_config(STRICT)
class RunManifest(TypedDict, total=False):
    """The values that are read; the manifest of an earlier version may lack some, or have None."""

    status: str
    recipe: str | None
    recipe_hash: str | None
    seed: int
    started: str | None
    versions: dict[str, Any] | list[Any] | None
    seconds: dict[str, Number] | None
    training: dict[str, Training] | None
    notes: Texts | None
    city: str | None
    city_hash: str | None
    city_folder: str | None
    modalities: Texts
    views: Texts
    blocks: list[Block] | None
    describes: dict[str, Texts]
    bands: dict[str, list[Any] | None]
    files: dict[str, dict[str, str]]
    pretrained: dict[str, Any] | None
    prior: dict[str, Any] | None
    tracking: list[Tracked]


_ADAPTER = TypeAdapter(RunManifest)


def manifest_faults(manifest: Any) -> list[str]:
    """Return what is wrong with the types of a manifest, by key."""
    return faults(_ADAPTER, manifest)
