"""Checkpoints as safetensors and JSON, written atomically and without pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import atomic_path, file_check
from urbankit.utils.ledger import Ledger, ledger_folder


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write named tensors, JSON facts and the hash of both as one safetensors file, atomically."""
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(facts)
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        save_file(copies, temporary, metadata={"urbankit": text, "sha256": _digest(copies, text)})
        temporary.chmod(mode)  # safetensors gives only the owner access to the file


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and facts that `save` wrote.

    Raises `DamagedCheckpoint` if the file is not such a checkpoint, or if anything in it has changed.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        facts = json.loads(metadata["urbankit"])
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such checkpoint") from None
    except Exception as error:
        raise damaged(path, error) from None
    ledger = None if (folder := ledger_folder(path)) is None else Ledger(folder)
    recorded = ledger is None or ledger.accepts(ledger.name_of(path), file_check(path))
    hashed = metadata.get("sha256") == _digest(tensors, metadata["urbankit"])
    of_before = "sha256" not in metadata and ledger is not None  # early versions wrote no hash into the file
    if not recorded or not (hashed or of_before):
        raise damaged(path, "its content does not have the hash that was written with it")
    return tensors, facts


class DamagedCheckpoint(UserError):
    """A checkpoint that cannot be used."""


def damaged(path: Path, reason: object) -> DamagedCheckpoint:
    """The error of a checkpoint that cannot be used."""
    message = f"is not a checkpoint of this stage, or damaged ({reason}); run the recipe again in another folder"
    return DamagedCheckpoint(Problem(message, path))


def previous(path: Path) -> Path:
    """The path of the checkpoint before `path`."""
    return path.with_suffix(f".previous{path.suffix}")


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():  # torch does not view an empty tensor as bytes
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the trainable parameters and of the persistent buffers."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value.detach().clone() for name, value in model.state_dict().items() if name not in frozen}


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what `trained_state` returned."""
    model.load_state_dict(state, strict=False)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors, `optimizer/<parameter>/<name>`."""
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load what `optimizer_tensors` returned; the parameter groups stay as the optimiser was built."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in with_prefix("optimizer/", tensors).items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
