"""Checkpoints: what is read back, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from urbankit.training import checkpoint
from urbankit.utils.files import file_check
from urbankit.utils.ledger import record, start_ledger

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}


def without_hash(path: Path) -> None:
    """Write a checkpoint as early versions did."""
    checkpoint.save(path, TENSORS, {"epoch": 3})
    with safe_open(path, framework="pt") as stream:
        text = stream.metadata()["urbankit"]
    save_file(TENSORS, path, metadata={"urbankit": text})


def test_tensors_and_facts_are_read_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.safetensors", TENSORS, {"epoch": 3})
    tensors, facts = checkpoint.load(tmp_path / "c.safetensors")
    assert facts == {"epoch": 3} and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_checkpoint_without_a_hash_is_refused_unless_its_folder_records_it(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    without_hash(path)
    with pytest.raises(checkpoint.DamagedCheckpoint, match="does not have the hash"):
        checkpoint.load(path)
    start_ledger(tmp_path)
    record(tmp_path, path, file_check(path))
    assert checkpoint.load(path)[1] == {"epoch": 3}
