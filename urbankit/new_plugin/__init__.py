"""`urbankit new-plugin`: writes an installable plugin package with components and tests that pass."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
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


def new_plugin(name: str, kinds: str | Sequence[str], out: str | Path | None = None) -> Path:
    """Write the package of new components and return its folder, by default `urbankit-NAME` in the working directory.

    Several kinds give one package with a component of each, all with the name of the package. An error leaves no
    partial folder. Raises `UserError` for an unknown kind, a name that is invalid for a package or class or is in use,
    and a folder that is not empty.
    """
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    component = _checked(name, kinds)
    distribution = PREFIX + component.replace("_", "-")
    folder = Path(distribution if out is None else out).absolute()
    package = {
        "name": component,
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "version": __version__,
    }
    components = [_component_values(kind, package, alone=len(kinds) == 1) for kind in kinds]
    files = _package_files(package | _summary(components))
    for values in components:
        files |= _component_files(values)
    _write(files, folder)
    return folder


def commands_for(kinds: Sequence[str], name: str, folder: Path) -> list[str]:
    """Return the commands that use the components of a package in `folder`."""
    component, alone = _component(name), len(kinds) == 1
    where = f"{folder.as_posix()}/"
    return [
        KINDS[kind].command.format(name=component, recipe=_recipe(component, kind, alone=alone), folder=where)
        for kind in kinds
    ]


def _recipe(component: str, kind: str, *, alone: bool) -> str:
    """Return the name of the recipe of a component, which is that of the package if it is `alone` in it."""
    return component if alone else f"{component}-{kind}"


def _component_values(kind: str, package: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Return what the templates of a component are filled with."""
    chosen, name = KINDS[kind], package["name"]
    recipe = _recipe(name, kind, alone=alone)
    return {
        **package,
        "class": _class_name(name, chosen.ending),
        "kind": chosen.name,
        "word": chosen.name.replace("_", " "),
        "module": kind,
        "about": chosen.example,
        "recipe": recipe,
        "test": f"test_{package['package']}" if alone else f"test_{package['package']}_{kind}",
        "use": chosen.command.format(name=name, recipe=recipe, folder=""),
    }


def _summary(components: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what the templates of the package say of its components."""
    hook = (TEMPLATES / f"hook.py{SUFFIX}").read_text(encoding="utf-8")
    about = components[0]["about"]
    if len(components) > 1:
        about = "components of the kinds " + " and ".join(one["kind"] for one in components)
    rows = [
        f"| `{one['package']}/{one['module']}.py` | the {one['word']} and its parameters |\n"
        f"| `tests/{one['test']}.py` | the checks of every {one['word']}, and those of this one |"
        for one in components
    ]
    shown = [line for one in components for line in (f"urbankit show {one['kind']} {one['name']}", one["use"])]
    return {
        "about": about,
        "sentence": about[0].upper() + about[1:],
        "hooks": "".join(_filled(hook, one) for one in components).rstrip("\n"),
        "components": "\n".join(f"- The {one['word']} `{one['name']}`: {one['about']}." for one in components),
        "commands": "\n".join(shown),
        "rows": "\n".join(rows),
    }


def _class_name(component: str, ending: str) -> str:
    """Return the name of the class: `MetroLinesView` for `metro_lines` and for `metro_lines_view`."""
    stem = "".join(map(str.capitalize, component.split("_")))
    return (stem.removesuffix(ending) or stem) + ending


def _component(name: str) -> str:
    """Return the name of the component in the package `name`."""
    return re.sub(r"[-_]+", "_", name.removeprefix(PREFIX).removeprefix(PREFIX.replace("-", "_"))).lower()


def _checked(name: str, kinds: Sequence[str]) -> str:
    """Return the name of the components. Raises one `UserError` with all mistakes."""
    problems = Problems()
    if not kinds:
        problems.add(f"give at least one kind: {', '.join(KINDS)}", key="--kind")
    for kind in dict.fromkeys(kinds):
        if kind not in KINDS:
            problems.add(f"unknown kind '{kind}'.{suggest(kind, KINDS)}", key="--kind")
        elif kinds.count(kind) > 1:
            problems.add(f"'{kind}' is given twice; a package has one component of a kind to begin with", key="--kind")
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
    else:
        for kind in dict.fromkeys(kinds):
            if reason := _in_use(kind, component, name):
                problems.add(f"{reason}; choose another name", key="NAME")
    problems.raise_if_any()
    return component


def _in_use(kind: str, component: str, name: str) -> str | None:
    """Return why a component of a kind cannot have a name that is valid, None if it can."""
    if kind in KINDS and (owner := _owner(KINDS[kind].name, component)):
        return f"the {KINDS[kind].name} '{component}' exists in {owner}"
    if kind == "modality" and component in _left_out(kind):
        return f"'{name}' is a modality of the package's recipe"
    return None


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


def _package_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the files of a package beside its components, by path."""
    folder = TEMPLATES / "package"
    return {
        _path(path.relative_to(folder).as_posix(), values): _filled(path.read_text(encoding="utf-8"), values)
        for path in folder.rglob(f"*{SUFFIX}")
    }


def _component_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the files of one component, by path."""
    folder = TEMPLATES / values["module"]
    templates = {
        f"package/{values['module']}.py": folder / f"component.py{SUFFIX}",
        f"tests/{values['test']}.py": folder / f"test.py{SUFFIX}",
        f"{values['recipe']}.yaml": folder / f"recipe.yaml{SUFFIX}",
    }
    return {
        _path(target, values): _filled(path.read_text(encoding="utf-8"), values)
        for target, path in templates.items()
        if path.is_file()
    }


def _path(template: str, values: Mapping[str, str]) -> str:
    return re.sub("^package/", f"{values['package']}/", template.removesuffix(SUFFIX))


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return the text of a template with every `{{key}}` replaced by its value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _write(files: Mapping[str, str], folder: Path) -> None:
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
