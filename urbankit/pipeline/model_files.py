"""The files of a model folder: `model.json`, two files of tensors, and the ledger with the hash of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from urbankit.evaluation.carried_head import CarriedHead
from urbankit.training import checkpoint
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import file_check, hash_file, hash_json, read_json, write_json
from urbankit.utils.forms import Form, faults
from urbankit.utils.ledger import LEDGER, PARTIAL, Ledger
from urbankit.utils.version import __version__
from urbankit.utils.written import is_own

FORMAT = 1
MODEL, WEIGHTS, HEADS = "model.json", "weights.safetensors", "heads.safetensors"
CARD = "README.md"
AGAIN = "copy or export the model again"


class _Block(Form):
    name: str
    width: NonNegativeInt


class _Facts(Form):
    """What is read of `model.json`."""

    method: str
    city: str
    supervised: list[str]
    held_out: list[str]
    modalities: list[str]
    views: list[str]
    left_out: dict[str, str]
    describes: dict[str, list[str]]
    bands: dict[str, list[str]]
    blocks: list[_Block]
    recipe: dict[str, Any]
    outline: str | None = None


def is_model_folder(folder: Path) -> bool:
    """Whether a folder says that it is a model."""
    return (folder / MODEL).is_file()


def check_replaceable(folder: Path, remedy: str) -> None:
    """Raise `UserError` if a folder holds something else than an unchanged model or what a killed export left.

    Args:
        folder: A folder, which may be missing.
        remedy: What the message advises.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(Problem("is a file; choose another --out", folder))
    files = [path for path in folder.glob("*") if path.name != LEDGER and not path.name.startswith(PARTIAL)]
    others = [path.name for path in files if path.name not in (MODEL, WEIGHTS, HEADS, CARD)]
    changed = [path.name for path in files if path.is_file() and not is_own(path)]
    if others or (changed and not is_model_folder(folder)):
        raise UserError(Problem(f"holds other files; {remedy}", folder))
    if changed:
        raise UserError(Problem(f"{', '.join(changed)} changed since urbankit wrote it; {remedy}", folder))


def write_files(
    folder: Path, facts: Mapping[str, Any], state: Mapping[str, Tensor], heads: Mapping[str, CarriedHead]
) -> None:
    """Write the files of a model into a folder that has a ledger; `model.json`, which makes it a model, is the last."""
    checkpoint.save(folder / WEIGHTS, dict(state), {"kind": "weights"})
    arrays = {
        f"{index}/{name}": torch.tensor(array)
        for index, head in enumerate(heads.values())
        for name, array in head.arrays().items()
    }
    checkpoint.save(folder / HEADS, arrays, {"heads": [head.facts() for head in heads.values()]})
    write_json(folder / MODEL, {"format": FORMAT, **facts})


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `model.json`. Raises `UserError` if a file of the model is damaged, or another version wrote it."""
    try:
        facts = read_json(folder / MODEL)
    except (ValueError, OSError) as error:
        raise _damaged(folder / MODEL, error) from None
    if not isinstance(facts, dict) or "format" not in facts:
        raise UserError(Problem("is not the description of a model of urbankit", folder / MODEL))
    if facts["format"] != FORMAT:
        message = f"has the format {facts['format']}; this version of urbankit ({__version__}) reads {FORMAT}"
        version = facts.get("urbankit")
        raise UserError(
            Problem(f"{message}. Use the version that wrote it ({version}), or export the run again", folder)
        )
    if wrong := faults(_Facts, facts):
        message = f"is not the description of a model of urbankit: {'; '.join(wrong[:5])}"
        raise UserError(Problem(message, folder / MODEL))
    _check(folder)
    return facts


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the state of the method. Raises `UserError` if the file is damaged."""
    return _load(folder / WEIGHTS)[0]


def read_heads(folder: Path) -> dict[str, CarriedHead]:
    """Read the heads by task. Raises `UserError` if the file is damaged."""
    tensors, facts = _load(folder / HEADS)
    heads = {}
    try:
        for index, of_head in enumerate(facts["heads"]):
            arrays = {k: t.numpy() for k, t in checkpoint.with_prefix(f"{index}/", tensors).items()}
            heads[of_head["name"]] = CarriedHead.load(of_head, arrays)
    except (KeyError, TypeError) as error:
        raise _damaged(folder / HEADS, f"it lacks {error}") from None
    return heads


def content_hash(folder: Path) -> str:
    """The hash of the files of a model."""
    return hash_json([hash_file(folder / name) for name in (MODEL, WEIGHTS, HEADS)])


def calibrating_cities(facts: Mapping[str, Any]) -> str:
    """Return where intervals and probabilities of a model are calibrated: cities whose labels training did not see."""
    return ", ".join(facts["held_out"]) if facts["supervised"] else str(facts["city"])


def without_paths(value: Any) -> Any:
    """Return a JSON value in which absolute paths are replaced by the name of their file."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _check(folder: Path) -> None:
    """Raise one `UserError` with every file of a model that is missing, or not as its ledger says."""
    ledger, problems = Ledger(folder), []
    for name in (MODEL, WEIGHTS, HEADS):
        path = folder / name
        if not (folder / LEDGER).is_file():
            problems = [Problem(f"lacks {LEDGER}, which has the hashes of its files; {AGAIN}", folder)]
        elif not path.is_file():
            problems.append(Problem(f"is missing; {AGAIN}", path))
        elif not ledger.accepts(name, file_check(path)):
            problems.append(_damage(path, f"its size or SHA-256 is not the one in {LEDGER}"))
    if problems:
        raise UserError(problems)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        return checkpoint.load(path)
    except checkpoint.DamagedCheckpoint as error:
        raise _damaged(path, error.__cause__ or "it cannot be read") from None


def _damage(path: Path, reason: object) -> Problem:
    return Problem(f"is damaged ({reason}); {AGAIN}", path)


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(_damage(path, reason))
