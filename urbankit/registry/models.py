"""Finds trained models: a folder, or one that a package ships by its name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from urbankit.registry.component import Component, P
from urbankit.registry.registry import get, names
from urbankit.utils.errors import UserError

LISTING = "`urbankit list-components --kind model` lists the models that are installed"


class PackagedModel(Component[P]):
    """A trained model that a package ships. `urbankit predict NAME`, `Model.open(NAME)` and `prior: NAME` find it.

    >>> class UsTracts(PackagedModel):
    ...     folder = Path(__file__).parent / "us-tracts"
    ...     licence = "ODbL 1.0"
    ...     attribution = "US Census Bureau; OpenStreetMap contributors"

    Attributes:
        folder: What `urbankit export RUN --to model` wrote.
        licence: The licence of the model.
        attribution: Who made the data that it was trained on, as their licences ask to be named.
    """

    folder: ClassVar[Path]
    licence: ClassVar[str]
    attribution: ClassVar[str]

    @classmethod
    def details(cls) -> dict[str, str]:
        """Return the folder, the licence and the attribution, for `urbankit show`."""
        return {name: str(getattr(cls, name, "")) for name in ("folder", "licence", "attribution")}


def model_folder(name: str | Path, beside: Path = Path()) -> Path:
    """Return the folder of a model or a run: `name` relative to `beside`, else the installed model of this name.

    A path with several parts is returned as it is, whether or not it exists.

    Raises:
        UserError: If `name` is one word that is neither a folder nor a model, or see `packaged_folder`.
    """
    path = beside / Path(name).expanduser()
    if path.exists() or Path(name).name != str(name):
        return path
    try:
        return packaged_folder(str(name))
    except UserError as error:
        if str(name) in names("model"):
            raise
        raise UserError(f"{error} There is no folder of this name either; {LISTING}") from None


def packaged_folder(name: str) -> Path:
    """Return the folder of the installed model `name`.

    Raises:
        UserError: If it is unknown, two packages ship it, its class does not load, or its folder is missing.
    """
    folder = getattr(get("model", name), "folder", None)
    if not isinstance(folder, str | Path) or not Path(folder).is_dir():
        message = f"the `folder` of model '{name}', {str(folder)!r}, is no folder"
        raise UserError(f"{message}; install its package again, or tell its author")
    return Path(folder)


def is_model_name(name: str | Path) -> bool:
    """Return whether a package ships a model of this name, and no file or folder has it."""
    return str(name) in names("model") and not Path(name).exists()
