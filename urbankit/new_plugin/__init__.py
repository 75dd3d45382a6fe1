"""`urbankit new-plugin`: writes an installable plugin package with one component and tests that pass."""

from __future__ import annotations

import keyword
import re
from importlib import metadata
from pathlib import Path

from urbankit import registry
from urbankit.registry.kinds import Kind
from urbankit.utils.errors import Problems, UserError, suggest
from urbankit.utils.removal import new_folder
from urbankit.utils.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".template"
PREFIX = "urbankit-"
LONGEST = 30


# The kinds that have a template, by the value of `--kind`.
KINDS: dict[str, Kind] = {kind.template: kind for kind in registry.KINDS.values() if kind.example}


def new_plugin(name: str, kind: str, out: str | Path | None = None) -> Path:
    """Write the package of a new component and return its folder, by default `urbankit-NAME` in the working directory.

    An error leaves no partial folder. Raises `UserError` for an unknown kind, a name that is invalid for a package or
    class or is in use, and a folder that is not empty.
    """
    chosen, component = _checked(name, kind)
    distribution = PREFIX + component.replace("_", "-")
    folder = Path(distribution if out is None else out).absolute()
    values = {
        "name": component,
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "class": _class_name(component, chosen.ending),
        "kind": chosen.name,
        "word": chosen.name.replace("_", " "),
        "module": kind,
        "about": chosen.example,
        "sentence": chosen.example[0].upper() + chosen.example[1:],
        "version": __version__,
        "use": chosen.command.format(name=component, folder=""),
    }
    _write(_files(kind, values), folder)
    return folder


def command_for(kind: str, name: str, folder: Path) -> str:
    """Return the command that uses the component of a package in `folder`."""
    chosen, component = KINDS[kind], _component(name)
    return chosen.command.format(name=component, folder=f"{folder.as_posix()}/")


def _class_name(component: str, ending: str) -> str:
    """Return the name of the class: `MetroLinesView` for `metro_lines` and for `metro_lines_view`."""
    stem = "".join(map(str.capitalize, component.split("_")))
    return (stem.removesuffix(ending) or stem) + ending


def _component(name: str) -> str:
    """Return the name of the component in the package `name`."""
    return re.sub(r"[-_]+", "_", name.removeprefix(PREFIX).removeprefix(PREFIX.replace("-", "_"))).lower()


def _checked(name: str, kind: str) -> tuple[Kind, str]:
    """Return the kind and the name of the component. Raises one `UserError` with all mistakes."""
    problems = Problems()
    if kind not in KINDS:
        problems.add(f"unknown kind '{kind}'.{suggest(kind, KINDS)}", key="--kind")
    component = _component(name)
    # Valid for a distribution (PEP 503), for a Python module, and for a component in `--set a.b=c`.
    if not re.fullmatch(r"[a-z](_?[a-z0-9]+)*", component):
        problems.add(
            f"'{name}' cannot name a package: use letters, digits and single hyphens, a letter first", key="NAME"
        )
    elif len(component) > LONGEST:
        problems.add(f"'{name}' has {len(component)} characters; use {LONGEST} at most", key="NAME")
    elif keyword.iskeyword(component):
        problems.add(f"'{name}' is a keyword of Python; choose another name", key="NAME")
    elif kind in KINDS and (owner := _owner(KINDS[kind].name, component)):
        problems.add(f"the {KINDS[kind].name} '{component}' exists in {owner}; choose another name", key="NAME")
    elif kind == "modality" and component in _left_out(kind):
        problems.add(f"'{name}' is a modality of the package's recipe; choose another name", key="NAME")
    problems.raise_if_any()
    return KINDS[kind], component


def _owner(kind: str, name: str) -> str | None:
    """Return the package that uses the name of the component or of the distribution; None if it is free."""
    for entry in registry.entries(kind):
        if re.sub(r"[-_]+", "_", entry.name).lower() == name:
            return f"{entry.origin} ({entry.target})"
    if package := registry.known_package(kind, name):
        return f"the package {package}"
    distribution = PREFIX + name.replace("_", "-")
    try:
        return f"the installed distribution {distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return None


def _left_out(kind: str) -> list[str]:
    """Return the keys that the recipe of the template sets to null."""
    return re.findall(r"(\w+): null", (TEMPLATES / kind / f"recipe.yaml{SUFFIX}").read_text(encoding="utf-8"))


def _files(kind: str, values: dict[str, str]) -> dict[str, str]:
    """Return the texts of the package's files, by path."""
    common = TEMPLATES / "package"
    templates = {path.relative_to(common).as_posix(): path for path in common.rglob(f"*{SUFFIX}")}
    folder = TEMPLATES / kind
    templates |= {
        f"package/{kind}.py{SUFFIX}": folder / f"component.py{SUFFIX}",
        f"tests/test_{values['package']}.py{SUFFIX}": folder / f"test.py{SUFFIX}",
    }
    if (recipe := folder / f"recipe.yaml{SUFFIX}").is_file():
        templates[f"{values['name']}.yaml{SUFFIX}"] = recipe
    return {
        re.sub("^package/", f"{values['package']}/", target.removesuffix(SUFFIX)): _filled(path, values)
        for target, path in templates.items()
    }


def _filled(template: Path, values: dict[str, str]) -> str:
    """Return the text of a template with every `{{key}}` replaced by its value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template.read_text(encoding="utf-8"))


def _write(files: dict[str, str], folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; choose another --out")
    try:
        with new_folder(folder) as temporary:
            for name, text in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder.parent}: {error.strerror}; give another --out") from error
