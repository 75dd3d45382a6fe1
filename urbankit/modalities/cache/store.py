"""The feature store: outputs of frozen encoders on disk, by a hash of what they were computed from."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from urbankit.utils.cache import read_entry, write_entry
from urbankit.utils.files import cache_folder


class FeatureStore:
    """Tensors by key, one safetensors file each.

    A key is a hash of everything the tensors depend on (`hash_json`), so an entry is never out of date
    and any file may be deleted at any time. A store that cannot be written warns and keeps nothing.

    Args:
        folder: where the files are; the default is `features` in the user's cache folder (`$URBANKIT_CACHE`).
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = cache_folder() / "features" if folder is None else Path(folder)

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors of `key`; None if it is absent or its file is damaged."""
        content = read_entry(self.path(key))
        return None if content is None else load(content)

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        write_entry(self.path(key), content)
