"""Files of a component's own beside the sources of the cities on which it is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from urbankit.city.city import City
from urbankit.testing.city import bare_city, grid_city, shuffled_city, shuffled_grid_city, tiny_city
from urbankit.utils.paths import is_name_inside
from urbankit.utils.removal import remove_files


@contextmanager
def files_beside(files: Mapping[str, str | bytes | Path]) -> Iterator[City]:
    r"""Put files beside the sources of the cities of the checks, for components that read files of their own.

    >>> with testing.files_beside({"stations.csv": "region,lines\nr00,2\nr01,1\n"}):
    ...     testing.check_view("metro", file="stations.csv")

    A component finds them by `city.source(name)`. The regions of all these cities are `r00` to `r19`.

    Args:
        files: Text, bytes, or the path of a file to copy, by the name relative to the folder of the sources.

    Yields:
        The tiny city, whose `lonlat` and `regions` help to make such files.

    Raises:
        ValueError: If a name leaves the folder, or the city has a source of this name.
    """
    cities = [tiny_city(), shuffled_city()[0], grid_city(), shuffled_grid_city()[0], bare_city()]
    folders = [Path(city.manifest["sources"]) for city in cities]
    for folder in folders:
        for name in files:
            if not is_name_inside(folder, name) or (folder / name).exists():
                raise ValueError(f"'{name}' lies outside the folder of the sources, or is a source of the city")
    try:
        for folder in folders:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                data = content.read_bytes() if isinstance(content, Path) else content
                path.write_bytes(data.encode() if isinstance(data, str) else data)
        yield cities[0]
    finally:
        for folder in folders:
            remove_files(folder, files)
