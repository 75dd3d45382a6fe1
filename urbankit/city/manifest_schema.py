"""The form of a city's manifest, with every key that is read; a manifest that was made up by hand is refused by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_core import ErrorDetails

Texts = list[str]
Band = Annotated[list[float], Len(1)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class _Check(_Form):
    size: NonNegativeInt
    sha256: str


class _Report(_Form):
    model_config = ConfigDict(extra="forbid")

    key: str
    rows: NonNegativeInt
    matched: NonNegativeInt
    dropped: dict[str, int]
    covers: Annotated[tuple[str, str, NonNegativeInt], Field(strict=False)] | None
    notes: Texts


class _Shard(_Form):
    file: str
    rows: NonNegativeInt


class _Image(_Form):
    name: str
    bands: PositiveInt
    band_names: Texts
    size: Annotated[list[PositiveInt], Len(2, 2)]
    dtype: Literal["uint8", "float32"]
    band_mean: Band
    band_std: Band
    content_hash: str
    shards: list[_Shard]


class _Layer(_Form):
    inputs: str
    hash: str
    files: Texts
    checks: dict[str, _Check] = {}
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


class _Text(_Form):
    title: str | None = None
    description: str | None = None


class _Described(_Text):
    unit: str | None = None
    classes: dict[str, _Text] | None = None


class _Spec(_Text):
    allow: Texts = []
    allow_leak: Texts = []
    images: dict[str, _Text] = {}
    targets: dict[str, _Described] = {}
    tables: dict[str, _Text] | None = {}
    poi: _Text | None = None
    flows: _Text | None = None


class _Manifest(_Form):
    complete: bool
    name: str
    crs: str | None
    regions: NonNegativeInt | None
    content_hash: str | None
    spec: _Spec
    sources: str | None
    without_modality: Texts = []
    checks: dict[str, _Check] = {}
    written: dict[str, Texts] = {}


LAYERS: dict[str, type[_Layer]] = {
    "regions": _Layer, "images": _Images, "captions": _Captions, "poi": _Points, "flows": _Layer, "tables": _Table,
    "targets": _Target,
}  # fmt: skip
"""The form of an entry of `parts`, by the kind of its layer."""


def faults_of_manifest(manifest: Mapping[str, Any]) -> list[str]:
    """Return where a manifest, without its `parts`, is not of the form that urbankit writes."""
    return _faults(_Manifest, manifest, "")


def faults_of_layer(key: str, entry: Any) -> list[str]:
    """Return where an entry of `parts` is not of the form that urbankit writes."""
    kind, dot, name = key.partition(".")
    named = kind not in ("regions", "poi", "flows")
    if kind not in LAYERS or named != bool(name) or named != bool(dot):
        return [f"parts.{key} is no layer of a city"]
    return _faults(LAYERS[kind], entry, f"parts.{key}")


def _faults(form: type[BaseModel], value: Any, path: str) -> list[str]:
    try:
        form.model_validate(value)
    except ValidationError as error:
        return [
            f"{'.'.join(filter(None, [path, *map(str, one['loc'])]))}: {_message(one)}" for one in error.errors()[:5]
        ]
    return []


def _message(error: ErrorDetails) -> str:
    return "Input should be a mapping" if error["type"] == "model_type" else error["msg"]
