"""`urbankit new-plugin`: a package of one component that installs, passes its own tests and is listed."""

from __future__ import annotations

import keyword
import re
import secrets
import shutil
from importlib import metadata
from pathlib import Path

from urbankit import registry
from urbankit.registry.kinds import Kind
from urbankit.utils.errors import Problems, UserError, suggest
from urbankit.utils.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".template"
PREFIX = "urbankit-"
LONGEST = 30


# The kinds that have a template, by what `--kind` calls them.
KINDS: dict[str, Kind] = {
    kind.template: kind for kind in registry.KINDS.values() if (TEMPLATES / kind.template).is_dir()
}


def new_plugin(name: str, kind: str, out: str | Path | None = None) -> Path:
    """Write the package of a new component and return its folder, by default `urbankit-NAME` in the working directory.

    The folder appears whole or not at all. Raises `UserError` for an unknown kind, a name that cannot be that of a
    package and a class or that is taken, and a folder that is there already.
    """
    chosen, component = _checked(name, kind)
    distribution = PREFIX + component.replace("_", "-")
    folder = Path(distribution if out is None else out).absolute()
    words = {
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
    _write(_files(kind, words), folder)
    return folder


def command_for(kind: str, name: str, folder: Path) -> str:
    """The command that uses the component of a package written to `folder`."""
    chosen, component = KINDS[kind], _component(name)
    return chosen.command.format(name=component, folder=f"{folder.as_posix()}/")


def _class_name(component: str, ending: str) -> str:
    """`metro_lines` and `metro_lines_view` are both a `MetroLinesView`."""
    stem = "".join(map(str.capitalize, component.split("_")))
    return (stem.removesuffix(ending) or stem) + ending


def _component(name: str) -> str:
    """What the component of a package called `name` is called."""
    return re.sub(r"[-_]+", "_", name.removeprefix(PREFIX).removeprefix(PREFIX.replace("-", "_"))).lower()


def _checked(name: str, kind: str) -> tuple[Kind, str]:
    """The kind and the component's name; all that is wrong with either is said at once."""
    problems = Problems()
    if kind not in KINDS:
        problems.add(f"unknown kind '{kind}'.{suggest(kind, KINDS)}", key="--kind")
    component = _component(name)
    # What PEP 503 allows of a distribution's name and Python of a module's, and `--set a.b=c` of a component's.
    if not re.fullmatch(r"[a-z](_?[a-z0-9]+)*", component):
        problems.add(
            f"'{name}' cannot name a package: use letters, digits and single hyphens, a letter first", key="NAME"
        )
    elif len(component) > LONGEST:
        problems.add(f"'{name}' has {len(component)} characters; use {LONGEST} at most", key="NAME")
    elif keyword.iskeyword(component):
        problems.add(f"'{name}' is a word of Python's own; choose another", key="NAME")
    elif kind in KINDS and (holder := _holder(KINDS[kind].name, component)):
        problems.add(f"the {KINDS[kind].name} '{component}' is there already, of {holder}; choose another", key="NAME")
    elif kind == "modality" and component in _left_out(kind):
        problems.add(f"'{name}' is a modality of the recipe that comes along; choose another", key="NAME")
    problems.raise_if_any()
    return KINDS[kind], component


def _holder(kind: str, name: str) -> str | None:
    """Who has the component's name, or the distribution's, already."""
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
    """What the recipe of the template leaves out, by key."""
    return re.findall(r"(\w+): null", (TEMPLATES / kind / f"recipe.yaml{SUFFIX}").read_text(encoding="utf-8"))


def _files(kind: str, words: dict[str, str]) -> dict[str, str]:
    """The package's files by their path in it."""
    common = TEMPLATES / "package"
    places = {path.relative_to(common).as_posix(): path for path in common.rglob(f"*{SUFFIX}")}
    own = TEMPLATES / kind
    places |= {
        f"package/{kind}.py{SUFFIX}": own / f"component.py{SUFFIX}",
        f"tests/test_{words['package']}.py{SUFFIX}": own / f"test.py{SUFFIX}",
    }
    if (recipe := own / f"recipe.yaml{SUFFIX}").is_file():
        places[f"{words['name']}.yaml{SUFFIX}"] = recipe
    return {
        re.sub("^package/", f"{words['package']}/", place.removesuffix(SUFFIX)): _filled(path, words)
        for place, path in places.items()
    }


def _filled(template: Path, words: dict[str, str]) -> str:
    """The template's text with every `{{word}}` put in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], template.read_text(encoding="utf-8"))


def _write(files: dict[str, str], folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; nothing is overwritten: give another --out")
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        for name, text in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if not folder.exists():
            temporary.rename(folder)
        else:  # it may be where the user stands
            for path in temporary.iterdir():
                path.rename(folder / path.name)
    except OSError as error:
        raise UserError(f"cannot write to {folder.parent}: {error.strerror}; give another --out") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
