"""The form of a city's manifest, with every key that is read; a manifest that was made up by hand is refused by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt

from urbankit.utils.forms import Form, faults

Texts = list[str]
Band = Annotated[list[float], Len(1)]


class _Check(Form):
    size: NonNegativeInt
    sha256: str


class _Report(Form):
    model_config = ConfigDict(extra="forbid")

    key: str
    rows: int
    matched: int
    dropped: dict[str, int]
    covers: Annotated[tuple[str, str, NonNegativeInt], Field(strict=False)] | None
    notes: Texts


class _Shard(Form):
    file: str
    rows: NonNegativeInt


class _Image(Form):
    name: str
    bands: PositiveInt
    band_names: Texts
    size: Annotated[list[PositiveInt], Len(2, 2)]
    dtype: Literal["uint8", "float32"]
    band_mean: Band
    band_std: Band
    content_hash: str
    shards: list[_Shard]


class _Layer(Form):
    inputs: str
    hash: str
    files: Texts
    checks: dict[str, _Check] = Field({})
    report: _Report


class _Images(_Layer):
    image: _Image


class _Captions(_Layer):
    files: Annotated[Texts, Len(1, 1)]


class _Points(_Layer):
    categories: Texts


class _Table(_Layer):
    columns: Texts


class _Target(_Layer):
    kind: str
    unit: str
    parts: Texts = Field([])


class _BaseMap(_Layer):
    credit: str = ""


class _Text(Form):
    title: str | None = None
    description: str | None = None


class _Described(_Text):
    unit: str | None = None
    classes: dict[str, _Text] | None = None


class _Spec(_Text):
    allow: Texts = Field([])
    allow_leak: Texts = Field([])
    images: dict[str, _Text] = Field({})
    targets: dict[str, _Described] = Field({})
    tables: dict[str, _Text] | None = Field({})
    poi: _Text | None = None
    flows: _Text | None = None


class _Manifest(Form):
    complete: bool
    name: str
    crs: str | None
    regions: NonNegativeInt | None
    content_hash: str | None
    spec: _Spec
    sources: str | None
    without_modality: Texts = Field([])
    checks: dict[str, _Check] = Field({})
    written: dict[str, Texts] = Field({})


LAYERS: dict[str, type[_Layer]] = {
    "regions": _Layer, "images": _Images, "captions": _Captions, "poi": _Points, "flows": _Layer, "tables": _Table,
    "targets": _Target, "base_map": _BaseMap,
}  # fmt: skip
"""The form of an entry of `parts`, by the kind of its layer."""


MOST = 5
"""Most faults that are named of the manifest, and of each layer."""


def faults_of_manifest(manifest: Mapping[str, Any]) -> list[str]:
    """Return where a manifest, without its `parts`, is not of the form that urbankit writes."""
    return faults(_Manifest, manifest)[:MOST]


def faults_of_layer(key: str, entry: Any) -> list[str]:
    """Return where an entry of `parts` is not of the form that urbankit writes."""
    kind, dot, name = key.partition(".")
    named = kind not in ("regions", "poi", "flows", "base_map")
    if kind not in LAYERS or named != bool(name) or named != bool(dot):
        return [f"parts.{key} is no layer of a city"]
    return faults(LAYERS[kind], entry, f"parts.{key}")[:MOST]
