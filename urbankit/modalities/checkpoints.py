"""Pre-trained weights: from a folder or the Hugging Face hub, safetensors only, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from urbankit.errors import Problem, UserError
from urbankit.files import hash_file, hash_json

if TYPE_CHECKING:
    from torch import Tensor, nn

# Weights only as safetensors: pickled ones can run code, and so can a repository's own Python files.
FILES = ["*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors"]
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
PATIENCE_S = 5.0


def checkpoint_folder(name: str, key: str, revision: str | None = None) -> Path:
    """The local folder of the checkpoint `name`: that folder itself, or what the hub has under that name.

    A copy in the hub's cache is used without asking the network. Without a network the answer takes seconds.

    Args:
        name: a folder in the hub's layout (`config.json`, `model.safetensors`), or a hub name such as
            `openai/clip-vit-base-patch32`.
        key: the recipe's key, for the message.
        revision: branch, tag or commit of a hub name; a local folder is what it is.

    Raises:
        UserError: there is no such folder or name, the hub cannot be reached, or the weights are not safetensors.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_files([path.name for path in folder.iterdir()], name, key)
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(Problem(f"no folder '{name}'", key=key))
    return _from_hub(name, key, revision)


def provenance(name: str, path: Path) -> dict[str, str | None]:
    """What was loaded: its name, the hub's commit where that is known, and a hash of the weights.

    `path` is what `checkpoint_folder` gave for `name`.
    """
    hashes = [hash_file(file) for file in sorted(path.glob("model*.safetensors"))]
    weights = hashes[0] if len(hashes) == 1 else hash_json(hashes)
    return {"name": name, "commit": path.name if path.parent.name == "snapshots" else None, "weights": weights}


def load_config(folder: Path, key: str) -> Any:
    """The transformers configuration in `folder`."""
    from transformers import AutoConfig

    with _explained(folder, key):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_model(kind: Any, folder: Path, key: str, unneeded: str = "", **options: Any) -> nn.Module:
    """A transformers model of class `kind` in float32 with the weights in `folder`, all of which must be there.

    `unneeded` is part of the name of weights that may be missing. `options` are transformers' own, `dtype` among them.
    """
    import torch

    options = {"dtype": torch.float32, "attn_implementation": "sdpa"} | options
    with _explained(folder, key), _quiet():
        model, found = kind.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_safetensors=True,
            output_loading_info=True, ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
    for what, names in (
        ("lacks", found["missing_keys"]),
        ("has, in shapes other than config.json says,", {name for name, *_ in found["mismatched_keys"]}),
    ):
        wrong = sorted(name for name in names if not unneeded or unneeded not in name)
        if wrong:
            message = f"the checkpoint {what} {len(wrong)} weights of {type(model).__name__}, such as '{wrong[0]}'"
            raise UserError(Problem(message, folder, key=key))
    return model.eval()


def load_tokenizer(folder: Path, key: str) -> Any:
    """The transformers tokenizer in `folder`."""
    from transformers import AutoTokenizer

    # Without its files transformers would make an empty tokenizer and say nothing.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(
            Problem(f"the checkpoint has no tokenizer (none of {', '.join(VOCABULARIES)})", folder, key=key)
        )
    with _explained(folder, key):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_processor(folder: Path, key: str) -> Any:
    """The transformers processor in `folder`, which makes a model's inputs of images and texts."""
    from transformers import AutoProcessor

    with _explained(folder, key), _quiet():
        found = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    missing = [part for part in ("image_processor", "tokenizer") if getattr(found, part, None) is None]
    if missing:
        message = f"the checkpoint has no {' and no '.join(missing)}; copy preprocessor and tokenizer files beside it"
        raise UserError(Problem(message, folder, key=key))
    return found


def read_weights(path: str | Path, key: str) -> dict[str, Tensor]:
    """The tensors of one safetensors file."""
    from safetensors.torch import load_file

    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(Problem("file not found", path, key=key))
    if path.suffix != ".safetensors":
        message = "weights are read from safetensors only; convert with torch.load and safetensors.torch.save_file"
        raise UserError(Problem(message, path, key=key))
    with _explained(path, key):
        return load_file(path)


def _check_files(files: list[str], name: str, key: str) -> None:
    if "config.json" not in files:
        raise UserError(Problem(f"'{name}' has no config.json, so it is not a transformers checkpoint", key=key))
    if not any(file.startswith("model") and file.endswith(".safetensors") for file in files):
        raise UserError(Problem(f"'{name}' has no model.safetensors; weights in other forms are not read", key=key))


def _from_hub(name: str, key: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        cached = Path(snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True))
        _check_files([path.name for path in cached.iterdir()], name, key)
        return cached
    except HFValidationError:
        raise UserError(Problem(f"no folder '{name}', and it is not a name on the Hugging Face hub", key=key)) from None
    except (LocalEntryNotFoundError, UserError):
        pass  # not downloaded yet, or not wholly
    remedy = f"on a machine with network run 'hf download {name} --local-dir FOLDER', and name that folder here"
    try:
        files = [
            sibling.rfilename
            for sibling in HfApi().model_info(name, revision=revision, timeout=PATIENCE_S).siblings or []
        ]
        _check_files(files, name, key)
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES, etag_timeout=PATIENCE_S))
    except UserError:
        raise
    except GatedRepoError:
        message = f"'{name}' asks for an agreement: accept it on its page and log in with 'hf auth login'"
    except RevisionNotFoundError:
        message = f"'{name}' has no revision '{revision}' on the hub"
    except RepositoryNotFoundError:
        message = f"no folder '{name}', and the Hugging Face hub has no such model (or it is private)"
    except Exception as error:  # whatever stands between here and the hub: proxies, DNS, TLS, a full disk
        message = f"no folder '{name}', and it could not be had from the Hugging Face hub ({_first(error)}): {remedy}"
    raise UserError(Problem(message, key=key))


@contextmanager
def _explained(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise of every kind on a damaged file
        raise UserError(Problem(f"the checkpoint cannot be read: {_first(error)}", path, key=key)) from None


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and notes on weights that are not used."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
