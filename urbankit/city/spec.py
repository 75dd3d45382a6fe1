"""The city spec: the YAML file that names a city's sources, as pydantic models that document every key."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    Field,
    Tag,
    create_model,
    field_validator,
    model_validator,
)

from urbankit import registry
from urbankit.city.io.crs import projected_crs
from urbankit.city.spec_base import (
    Described,
    DescribedTarget,
    Name,
    PointFile,
    Spec,
    TargetTexts,
    VectorKeys,
    WithCRS,
)
from urbankit.city.spec_base_map import BaseMapSpec
from urbankit.city.spec_targets import ShareTarget, TableTarget
from urbankit.config.validation import one_of, validate
from urbankit.config.yaml import load_mapping
from urbankit.utils.errors import Problems, UserError

LONGEST_M = 20_000_000.0
"""Half of the way round the Earth."""


class _Raster(WithCRS):
    nodata: list[float] = Field([], description="Further values of missing cells, as stored in the file.")


class RegionFile(VectorKeys):
    """Regions drawn as polygons."""

    file: str = Field(description="Polygons: GeoPackage, Shapefile, GeoJSON, FlatGeobuf or GeoParquet.")
    id: str = Field(description="Column that identifies a region; read as text, without nulls or duplicates.")


class Grid(VectorKeys):
    """A square grid aligned to multiples of its size in the projected CRS."""

    size_m: float = Field(gt=0, le=LONGEST_M, description="Side of a cell in metres.")
    covering: str = Field(description="Raster (cells over a valid value) or polygons (cells that intersect).")


class GridRegions(Spec):
    """Regions that are the cells of a square grid; ids are `COLUMN_ROW`, counted from the south-west."""

    grid: Grid = Field(description="The grid.")


class H3(VectorKeys):
    """H3 cells."""

    resolution: int = Field(ge=0, le=15, description="H3 resolution; 8 is about 0.7 km².")
    covering: str = Field(description="Raster (cells over a valid value) or polygons (cells that intersect).")


class H3Regions(Spec):
    """Regions that are H3 cells; ids are those of H3."""

    h3: H3 = Field(description="The cells.")


Side = Annotated[int, Field(ge=1, le=4096)]
Size = Side | tuple[Side, Side]


class _Images(Described):
    if TYPE_CHECKING:  # each kind declares it with its own default
        size: Size

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def _size(default: int) -> Any:
    return Field(default, description="Side in pixels, or [height, width]; images are resized to it.")


class MosaicImages(_Images, _Raster):
    """One patch for each region, cut from rasters: north-up, centred on the region, all bands stacked."""

    mosaic: str | list[str] = Field(
        min_length=1,
        description="GeoTIFF or several, in any CRS; their bands are stacked in this order.",
    )
    bands: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=1, description="Bands to use, counted from 1 over the stack of all files; null uses all."
    )
    extent_m: float | None = Field(
        None,
        gt=0,
        le=LONGEST_M,
        description="Side of the patch on the ground in metres; null takes the square root of the median region area.",
    )
    size: Size = _size(64)


class RegionImages(_Images):
    """One image file per region."""

    files: str = Field(description="Path with `{region_id}` in it, such as `tiles/{region_id}.png`.")
    size: Size = _size(224)

    @field_validator("files")
    @classmethod
    def check_template(cls, files: str) -> str:
        if set(re.findall(r"\{(.*?)\}", files)) != {"region_id"}:
            raise ValueError("must contain {region_id} and no other braces")
        return files


class PointImages(_Images, PointFile):
    """Images taken at points, such as street views: any number per region."""

    points: str = Field(description="Table (CSV, JSONL, Parquet) or point file with one row for each image.")
    image: str = Field("image", description="Column with the image's path; it also identifies the image.")
    size: Size = _size(224)


class Captions(Described):
    """Texts about the images of one source, by region or by image."""

    file: str = Field(description="JSONL, CSV or Parquet with one row for each caption.")
    region: str | None = Field(None, description="Column with the region's id; or give `image`.")
    image: str | None = Field(
        None, description="Column with the image's path as its source names it; or give `region`."
    )
    text: str = Field("text", description="Column with the caption.")

    @model_validator(mode="after")
    def check_key(self) -> Captions:
        if (self.region is None) == (self.image is None):
            raise ValueError("needs exactly one of region and image: the column with what a caption describes")
        return self


class PoiCounts(Described):
    """Points of interest counted by region: one row for each region, one column for each category."""

    counts: str = Field(description="Table (CSV, JSONL, Parquet).")
    region: str = Field(description="Column with the region's id; every other column is a category.")


class PoiPoints(Described, PointFile):
    """Points of interest with a category."""

    points: str = Field(description="Points: GeoPackage, Shapefile, GeoJSON, GeoParquet, or a table with lon and lat.")
    category: str = Field(description="Column with the category.")


class FlowsByRegion(Described):
    """Flows between regions named by id."""

    file: str = Field(description="Table (CSV, JSONL, Parquet).")
    origin: str = Field(description="Column with the id of the region where the flow starts.")
    destination: str = Field(description="Column with the id of the region where it ends.")
    weight: str | None = Field(None, description="Column with the number of trips; null counts every row once.")
    time: str | None = Field(None, description="Column with the local time of departure (ISO 8601 or a timestamp).")
    time_zone: str | None = Field(
        None, description="The city's time zone, such as America/New_York: times in UTC or with an offset become local."
    )

    check_zone = field_validator("time_zone")(lambda name: _known_zone(name))


class FlowsByPoint(Described):
    """Flows between coordinates."""

    file: str = Field(description="Table (CSV, JSONL, Parquet).")
    origin_lon: str = Field(description="Column with the origin's longitude in degrees.")
    origin_lat: str = Field(description="Column with the origin's latitude in degrees.")
    destination_lon: str = Field(description="Column with the destination's longitude in degrees.")
    destination_lat: str = Field(description="Column with the destination's latitude in degrees.")
    weight: str | None = Field(None, description="Column with the number of trips; null counts every row once.")
    time: str | None = Field(None, description="Column with the local time of departure (ISO 8601 or a timestamp).")
    time_zone: str | None = Field(
        None, description="The city's time zone, such as America/New_York: times in UTC or with an offset become local."
    )

    check_zone = field_validator("time_zone")(lambda name: _known_zone(name))


class Table(Described):
    """Numbers by region, used as a modality."""

    file: str = Field(description="Table (CSV, JSONL, Parquet).")
    region: str = Field(description="Column with the region's id.")
    columns: list[str] | None = Field(
        None, description="Columns to take; null takes every column but the id, geometries and row numbers."
    )
    missing: list[float | str] = Field([], description="Values that stand for a missing one, such as [-9999].")


class RasterTarget(DescribedTarget, _Raster):
    """A target from a raster, weighted by the exact area of each cell within the region."""

    raster: str = Field(description="GeoTIFF.")
    statistic: Literal["mean", "sum", "density", "majority"] = Field(
        description="`mean` of the cells; `sum` of their values; `density` the sum per km² of the region; "
        "`majority` the commonest value (classification)."
    )
    band: int | None = Field(None, ge=1, description="Band of the raster; null where it has only one.")

    @model_validator(mode="after")
    def check_classes(self) -> RasterTarget:
        if self.classes and self.statistic != "majority":
            raise ValueError("`classes` are of a classification; use `statistic: majority`, or remove them")
        return self


class PointTarget(DescribedTarget, PointFile):
    """The most frequent label of a region's points (classification); ties give the alphabetically first label."""

    points: str = Field(description="Points: GeoPackage, Shapefile, GeoJSON, GeoParquet, or a table with lon and lat.")
    label: str = Field(description="Column with the label.")


RegionSpec = Annotated[
    Annotated[RegionFile, Tag("<RegionFile>")]
    | Annotated[GridRegions, Tag("<GridRegions>")]
    | Annotated[H3Regions, Tag("<H3Regions>")],
    one_of(file="<RegionFile>", grid="<GridRegions>", h3="<H3Regions>"),
]
ImageSpec = Annotated[
    Annotated[MosaicImages, Tag("<MosaicImages>")]
    | Annotated[RegionImages, Tag("<RegionImages>")]
    | Annotated[PointImages, Tag("<PointImages>")],
    one_of(mosaic="<MosaicImages>", files="<RegionImages>", points="<PointImages>"),
]
PoiSpec = Annotated[
    Annotated[PoiCounts, Tag("<PoiCounts>")] | Annotated[PoiPoints, Tag("<PoiPoints>")],
    one_of(counts="<PoiCounts>", points="<PoiPoints>"),
]
FlowSpec = Annotated[
    Annotated[FlowsByRegion, Tag("<FlowsByRegion>")] | Annotated[FlowsByPoint, Tag("<FlowsByPoint>")],
    one_of(origin="<FlowsByRegion>", origin_lon="<FlowsByPoint>"),
]
TargetSource: TypeAlias = TableTarget | ShareTarget | RasterTarget | PointTarget
_BY_SOURCE = one_of(TargetTexts, table="<TableTarget>", raster="<RasterTarget>", points="<PointTarget>")


def _choose_target(value: Any) -> str | None:
    """The tag of a target: of those of a table, `kind: distribution` or `columns` mark one of shares."""
    if isinstance(value, dict) and "table" in value and ("columns" in value or value.get("kind") == "distribution"):
        return "<ShareTarget>"
    choose: Any = _BY_SOURCE.discriminator
    return choose(value)


TargetSpec = Annotated[
    Annotated[TableTarget, Tag("<TableTarget>")]
    | Annotated[ShareTarget, Tag("<ShareTarget>")]
    | Annotated[RasterTarget, Tag("<RasterTarget>")]
    | Annotated[PointTarget, Tag("<PointTarget>")]
    | Annotated[TargetTexts, Tag("<TargetTexts>")],
    replace(_BY_SOURCE, discriminator=_choose_target),
]


class CitySpec(Described):
    """A city: its regions and the sources aligned to them. Paths are relative to the data folder."""

    name: Name = Field(description="The city's name, also the name of its folder.")
    crs: str | None = Field(None, description="Projected CRS in metres; null takes the regions' UTM zone.")
    allow: list[Literal["network", "outside"]] = Field(
        [],
        description="What sources may refer to: `outside`, files outside the data folder (also by paths and symbolic "
        "links); `network`, addresses in a VRT. By default neither.",
    )
    regions: RegionSpec | None = Field(
        None,
        description="Where the regions come from; null where a dataset says how many there are, without geometry.",
    )
    images: dict[Name, ImageSpec] = Field(
        {}, max_length=100, description="Image sources by name, such as `rsi` and `svi`."
    )
    captions: dict[Name, Captions] = Field(
        {}, max_length=100, description="Captions by the name of the image source they describe."
    )
    poi: PoiSpec | None = Field(None, description="Points of interest.")
    flows: FlowSpec | None = Field(None, description="Flows between regions.")
    base_map: BaseMapSpec | None = Field(None, description="Water, main roads and place names for maps.")
    tables: dict[Name, Table] = Field({}, max_length=1000, description="Other numbers by region, by name.")
    targets: dict[Name, TargetSpec] = Field(
        {},
        max_length=1000,
        description="What is to be predicted, by name; for a target of a dataset only its title, unit and description.",
    )
    allow_leak: list[str] = Field(
        [], description="Columns of tables that may equal a target or almost: `income`, or `census.income`."
    )

    check_crs = field_validator("crs")(projected_crs)

    @model_validator(mode="after")
    def check_captions(self) -> CitySpec:
        for name, captions in self.captions.items():
            if captions.image is not None and name not in self.images:
                raise ValueError(f"captions.{name}: describes images by path, but there is no image source '{name}'")
        return self

    @property
    def target_sources(self) -> dict[str, TargetSource]:
        """The targets that the city file itself has the source of; those of datasets have only texts here."""
        return {name: one for name, one in self.targets.items() if not isinstance(one, TargetTexts)}

    @property
    def datasets(self) -> dict[str, Any]:
        """The parameters of the datasets that the city names, by their names (`city_spec`)."""
        names = type(self).model_fields.keys() - CitySpec.model_fields.keys()
        return {name: getattr(self, name) for name in sorted(names) if getattr(self, name) is not None}

    def to_json(self) -> dict[str, Any]:
        """The keys and values as JSON, without the datasets that the city does not name."""
        unused = type(self).model_fields.keys() - CitySpec.model_fields.keys() - self.datasets.keys()
        return self.model_dump(mode="json", exclude=unused)


@registry.cached
def city_spec() -> type[CitySpec]:
    """Return the model of city files with a key for every dataset that is registered."""
    fields: dict[str, Any] = {}
    for entry in registry.entries("dataset"):
        description = f"{entry.description[:1].upper()}{entry.description[1:]}."
        if entry.name in CitySpec.model_fields:
            raise UserError(f"{entry} has the name of a key of city files; its author renames it")
        fields[entry.name] = (_dataset_params(entry.name), Field(None, description=description))
    return create_model("CitySpec", __base__=CitySpec, __doc__=CitySpec.__doc__, **fields)


def _dataset_params(name: str) -> Any:
    """Return the type of a dataset's key; a dataset that does not load says so where a city names it."""
    try:
        return registry.get("dataset", name).Params | None
    except UserError as error:
        reason = str(error)

    def refuse(value: Any) -> Any:
        if value is not None:
            raise ValueError(reason)
        return value

    return Annotated[Any, AfterValidator(refuse)]


def load_city_spec(path: str | Path) -> CitySpec:
    """Read a city spec. Raises `UserError` with every mistake: file, line, key, the closest right name."""
    problems = Problems()
    tree = load_mapping(path, "a city has keys such as `name`, `regions` and `targets`", problems)
    model = city_spec()
    names = model.model_fields.keys() - CitySpec.model_fields.keys()
    if isinstance(tree.value, dict) and not {"regions", *names} & tree.value.keys():
        problems.add("is missing. Where the regions come from.", file=path, line=tree.line, key="regions")
    spec = validate(model, tree, problems)
    problems.raise_if_any()
    return spec


def _known_zone(name: str | None) -> str | None:
    if name is not None and name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; write it as America/New_York or Asia/Singapore")
    return name
