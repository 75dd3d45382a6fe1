"""Check the sources of a city spec before anything is prepared."""

from __future__ import annotations

import tempfile
from pathlib import Path

from urbankit.city.prepare import layers
from urbankit.city.prepare.context import Context
from urbankit.city.prepare.datasets import check_datasets, city_datasets
from urbankit.city.report import SourceReport
from urbankit.city.sources import Sources
from urbankit.city.spec import CitySpec, load_city_spec
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.paths import data_paths, explain_missing


class MissingSources(UserError):
    """Files that a city file names are missing, or lie outside the data folder."""


def check_files(spec: CitySpec, spec_file: Path, data: Path) -> None:
    """Raise `MissingSources` if a file that the spec names is missing, or lies outside the data folder."""
    if not data.is_dir():
        message = f"there is no data folder {data}; give the folder of the sources with --data"
        raise MissingSources(Problem(message, spec_file))
    problems = Problems()
    datasets = city_datasets(spec, data)
    for key, name in layers.source_files(spec):
        if key.partition(".")[0] in spec.datasets:
            continue
        with problems.collect():
            [path] = data_paths(data, [name], key, spec_file, outside="outside" in spec.allow)
            if not path.is_file():
                raise UserError(Problem(f"{path}: {explain_missing(path)}", spec_file, key=key))
    with problems.collect():
        check_datasets(spec, spec_file, datasets)
    if problems:
        raise MissingSources(problems)


def spec_sources(spec_file: str | Path, data: str | Path | None = None) -> Sources:
    """Return the folder of the sources of a city file; `data` is that folder, by default that of the file."""
    spec_file = Path(spec_file)
    spec = load_city_spec(spec_file)
    return Sources(spec_file, spec_file.parent if data is None else Path(data), frozenset(spec.allow))


def match_sources(spec_file: str | Path, data: str | Path | None = None) -> list[SourceReport]:
    """Read the regions of a city and every table of it, match their ids as `prepare` does, and keep nothing.

    Images, and captions of images, are not read.

    Args:
        spec_file: The city's YAML file.
        data: The folder that paths in the spec are relative to; default the spec's own.

    Returns:
        For each source its rows, how many of them belong to a region, and why others do not.

    Raises:
        UserError: With all mistakes, such as a table of which no id matches a region.
        MissingSources: With all files that are missing.
    """
    spec_file = Path(spec_file)
    spec = load_city_spec(spec_file)
    data = spec_file.parent if data is None else Path(data)
    check_files(spec, spec_file, data)
    problems, reports = Problems(), [SourceReport("regions")]
    with tempfile.TemporaryDirectory(prefix="urbankit-check-") as folder:
        context = Context(data, Path(folder), allow=frozenset(spec.allow))
        regions = layers.regions_layer(spec, context)
        with problems.collect("regions"):
            regions.build(reports[0])
        problems.raise_if_any()
        for layer in layers.table_layers(spec, context, regions):
            report = SourceReport(layer.key)
            with problems.collect(layer.key):
                layer.build(report)
            reports.append(report)
    problems.raise_if_any()
    return reports
