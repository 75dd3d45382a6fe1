"""Weights in packages that pip has installed: `pip:NAME`, or `pip:NAME/FILE` for one of their files.

Nothing of such a package is imported. Its files are found by its metadata.
"""

from __future__ import annotations

import fnmatch
import shutil
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath
from zlib import error as CompressionError

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import cache_folder
from urbankit.utils.paths import resolve_inside
from urbankit.utils.removal import new_folder

PREFIX = "pip:"
CONFIG = "config.json"
MOST_BYTES = 20 * 2**30
"""Most bytes that are unpacked from one archive."""


def is_installed_name(name: str) -> bool:
    """Whether a checkpoint is named as one in an installed package."""
    return name.startswith(PREFIX)


def version_of(name: str) -> str:
    """Return `pip:NAME` with the version that is installed, such as `pip:geoclip==1.2.0`."""
    distribution, *file = name.removeprefix(PREFIX).split("/", 1)
    return "/".join([f"{PREFIX}{distribution}=={metadata.version(distribution)}", *file])


def installed_file(name: str, patterns: tuple[str, ...], prefer: str, key: str) -> Path:
    """Return the file of weights `name`, or the only one that the package has.

    Args:
        name: `pip:NAME`, or `pip:NAME/FILE`.
        patterns: Patterns of file names, the preferred kind first.
        prefer: Part of the name of the file that is meant if there are several.
        key: The recipe's key, for the message.

    Raises:
        UserError: The package is not installed, or has no such file or several.
    """
    distribution, file = _split(name, key)
    files = _files(distribution)
    if file is not None:
        if file not in files:
            raise UserError(Problem(f"the package {distribution.name} has no file '{file}'", key=key))
        return files[file]
    matches = next((found for kind in patterns if (found := fnmatch.filter(files, kind))), [])
    preferred = [match for match in matches if prefer and prefer in PurePosixPath(match).name]
    matches = preferred if len(preferred) == 1 else matches
    if len(matches) == 1:
        return files[matches[0]]
    what = f"several files of weights: name one of {', '.join(sorted(matches))}" if matches else "no file of weights"
    raise UserError(Problem(f"the package {distribution.name} has {what}", key=key))


def installed_folder(name: str, key: str) -> Path:
    """Return the folder of the checkpoint in a package; one in a zip file is unpacked into the cache once.

    Args:
        name: `pip:NAME`, or `pip:NAME/FOLDER`.
        key: The recipe's key, for the message.

    Raises:
        UserError: The package is not installed, or has no checkpoint or several.
    """
    distribution, folder = _split(name, key)
    files = _files(distribution)
    configs = [
        file for file in files
        if PurePosixPath(file).name == CONFIG and (folder is None or PurePosixPath(file).parent.as_posix() == folder)
    ]  # fmt: skip
    roots = {PurePosixPath(file).parent for file in configs}
    roots = {root for root in roots if not any(other in root.parents for other in roots)}  # not those of submodules
    if len(roots) == 1:
        return files[(next(iter(roots)) / CONFIG).as_posix()].parent
    archives = [files[file] for file in files if file.endswith(".zip")] if not roots and folder is None else []
    archives = [archive for archive in archives if _config_of(archive) is not None]
    if len(archives) == 1:
        return _unpacked(archives[0], distribution, key)
    what = "several checkpoints" if len(roots) > 1 or len(archives) > 1 else f"no checkpoint (no {CONFIG})"
    remedy = f"; name the folder of one: {', '.join(sorted(map(str, roots)))}" if roots else ""
    raise UserError(Problem(f"the package {distribution.name} has {what}{remedy}", key=key))


def _split(name: str, key: str) -> tuple[metadata.Distribution, str | None]:
    """The package, and the file or folder in it. Raises `UserError` if it is not installed."""
    package, *file = name.removeprefix(PREFIX).split("/", 1)
    try:
        if not package:  # before Python 3.11 an empty name is that of any distribution
            raise metadata.PackageNotFoundError(package)
        return metadata.distribution(package), file[0] if file else None
    except (metadata.PackageNotFoundError, ValueError):
        message = f"the package '{package}' is not installed; install it with `pip install {package}`"
        raise UserError(Problem(message, key=key)) from None


def _files(distribution: metadata.Distribution) -> dict[str, Path]:
    """The existing files of a package inside its own folders, by name."""
    root = Path(str(distribution.locate_file("")))
    located = {file.as_posix(): resolve_inside(root, file.as_posix()) for file in distribution.files or ()}
    return {name: path for name, path in located.items() if path is not None and path.is_file()}


def _config_of(archive: Path) -> str | None:
    """The configuration of the checkpoint in a zip file that is nearest to its root; None if there is none."""
    try:
        with zipfile.ZipFile(archive) as opened:
            configs = [name for name in opened.namelist() if PurePosixPath(name).name == CONFIG]
    except (zipfile.BadZipFile, OSError):
        return None
    return min(configs, key=lambda name: name.count("/"), default=None)


def _unpacked(archive: Path, distribution: metadata.Distribution, key: str) -> Path:
    """The folder of the cache with the checkpoint of a zip file."""
    root = PurePosixPath(_config_of(archive) or CONFIG).parent
    folder = cache_folder() / "pretrained" / f"{distribution.name}-{distribution.version}"
    if (folder / CONFIG).is_file():
        return folder
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [
                item for item in opened.infolist() if not item.is_dir() and root in PurePosixPath(item.filename).parents
            ]
            if sum(item.file_size for item in members) > MOST_BYTES:
                raise UserError(Problem(f"unpacks to more than {MOST_BYTES // 2**30} GiB", archive, key=key))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with new_folder(folder) as temporary:
                for item in members:
                    target = resolve_inside(temporary, PurePosixPath(item.filename).relative_to(root).as_posix())
                    if target is None:
                        raise UserError(Problem(f"holds a file outside its folder: {item.filename}", archive, key=key))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(item) as source, target.open("wb") as stream:
                        shutil.copyfileobj(source, stream, 1 << 20)
    except (zipfile.BadZipFile, CompressionError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(Problem(f"cannot be unpacked: {error}", archive, key=key)) from None
    return folder
