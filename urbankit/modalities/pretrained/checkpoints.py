"""Pre-trained weights: from a folder or the Hugging Face hub, without running code, with errors that say what to do."""

from __future__ import annotations

import fnmatch
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hashes
from urbankit.utils.paths import resolve_inside

# Where several are there the first is read. Pickles only by torch's weights-only reader, which builds tensors and plain
# containers and calls nothing else; a repository's own Python files are never read.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
BESIDE = ("*.json", "*.jinja", "*.txt", "*.model")
SINGLE = ("*.safetensors", "*.ckpt", "*.pt", "*.pth", "*.bin")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
PATIENCE_S = 5.0

Choose = Callable[[list[str], Path | None], list[str]]
"""Gives patterns of the files to read, of all that a repository has, and of the folder that they are in where it is
here; raises `UserError` where something lacks."""


def checkpoint_folder(name: str, key: str, revision: str | None = None) -> Path:
    """The local folder of the checkpoint `name`: that folder itself, or what the hub has under that name.

    A copy in the hub's cache is used without asking the network. Without a network the answer takes seconds.

    Args:
        name: a folder in the hub's layout (`config.json`, `model.safetensors`), or a hub name such as
            `openai/clip-vit-base-patch32`.
        key: the recipe's key, for the message.
        revision: branch, tag or commit of a hub name; of a folder, the commit that it was downloaded from.

    Raises:
        UserError: there is no such folder, name or revision, the hub cannot be reached, or it has no weights that can
            be read.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_layout([path.name for path in folder.iterdir()], name, key, folder)
        _check_revision(folder, revision, key)
        return folder
    _refuse_paths(name, key, "folder")
    return _from_hub(name, key, revision, lambda files, cached: _check_layout(files, name, key, cached))


def weights_file(name: str, key: str, revision: str | None = None) -> Path:
    """The local file of weights `name`: that file itself, or the one that a hub repository has.

    Args:
        name: a file, a hub name with one file of weights, or such a name and the file: `owner/model/weights.ckpt`.
        key, revision: as for `checkpoint_folder`.

    Raises:
        UserError: there is no such file, name or revision, the hub cannot be reached, or it has several such files.
    """
    path = Path(name).expanduser()
    if path.is_file():
        _check_revision(path.parent, revision, key)
        return path
    *owner, last = name.split("/")
    resolve_inside = last if len(owner) == 2 else None
    repository = "/".join(owner) if resolve_inside else name
    if name.count("/") == 0 or (resolve_inside is None and path.suffix in {Path(kind).suffix for kind in SINGLE}):
        raise UserError(Problem("file not found", path, key=key))
    _refuse_paths(repository, key, "file")
    folder = _from_hub(
        repository, key, revision, lambda files, _: [_only_weights(files, resolve_inside, repository, key)]
    )
    return folder / _only_weights(_files_in(folder), resolve_inside, repository, key)


def provenance(name: str, path: Path) -> dict[str, str | None]:
    """What was loaded, for a manifest: its name, the hub's commit where that is known, and a hash of the weights.

    `path` is what `checkpoint_folder` or `weights_file` gave for `name`. The hash is the SHA-256 of the file, as the
    hub shows it, by `known_hash`; of several files, of their hashes.
    """
    hashes = cached_hashes(local_weights(path))
    weights = hashes[0] if len(hashes) == 1 else hash_json(hashes)
    return {"name": name, "commit": _commit(path if path.is_dir() else path.parent), "weights": weights}


def local_weights(path: Path) -> list[Path]:
    """The files of weights that are read of a local checkpoint, itself where it is a file; none of what is not here."""
    if path.is_dir():
        return [path / file for file in _first_kind([p.name for p in path.iterdir()])]
    return [path] if path.is_file() else []


def load_config(folder: Path, key: str) -> Any:
    """The transformers configuration in `folder`."""
    with _explained(folder, key):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_model(kind: Any, folder: Path, key: str, unneeded: str = "", **options: Any) -> PreTrainedModel:
    """A transformers model of class `kind` in float32 with the weights in `folder`, all of which must be there.

    `unneeded` is part of the name of weights that may be missing. `options` are transformers' own, `dtype` among them.
    """
    safe = any(name.endswith(".safetensors") for name in _first_kind([path.name for path in folder.iterdir()]))
    options = {"dtype": torch.float32, "attn_implementation": "sdpa"} | options
    with _explained(folder, key), _quiet():
        model, report = kind.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, use_safetensors=safe, weights_only=True,
            output_loading_info=True, ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
    for what, names in (
        ("lacks", report["missing_keys"]),
        ("has, in shapes other than config.json says,", {name for name, *_ in report["mismatched_keys"]}),
    ):
        wrong = sorted(name for name in names if not unneeded or unneeded not in name)
        if wrong:
            message = f"the checkpoint {what} {len(wrong)} weights of {type(model).__name__}, such as '{wrong[0]}'"
            raise UserError(Problem(message, folder, key=key))
    return model.eval()


def load_tokenizer(folder: Path, key: str) -> Any:
    """The transformers tokenizer in `folder`."""
    # Without its files transformers would make an empty tokenizer and say nothing.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(
            Problem(f"the checkpoint has no tokenizer (none of {', '.join(VOCABULARIES)})", folder, key=key)
        )
    with _explained(folder, key):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_processor(folder: Path, key: str) -> Any:
    """The transformers processor in `folder`, which makes a model's inputs of images and texts."""
    with _explained(folder, key), _quiet():
        found = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    missing = [part for part in ("image_processor", "tokenizer") if getattr(found, part, None) is None]
    if missing:
        message = f"the checkpoint has no {' and no '.join(missing)}; copy preprocessor and tokenizer files beside it"
        raise UserError(Problem(message, folder, key=key))
    return found


def read_json_of(folder: Path, name: str, key: str, kind: type = dict) -> Any:
    """What the JSON file `name` of a checkpoint holds, or None where it has no such file, or it would be outside.

    Raises `UserError` where that is no JSON, or not of `kind`.
    """
    path = resolve_inside(folder, name)
    if path is None or not path.is_file():
        return None
    with _explained(path, key):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, kind):
        message = f"must hold a JSON {'list' if kind is list else 'object'}, not {type(found).__name__}"
        raise UserError(Problem(message, path, key=key))
    return found


def read_weights(path: str | Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of one file, and the hyper-parameters where it is a Lightning checkpoint.

    The file is safetensors or what `torch.load(weights_only=True)` reads: a state dict, or a checkpoint that holds one
    as `state_dict`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(Problem("file not found", path, key=key))
    if path.suffix == ".safetensors":
        with _explained(path, key):
            return load_file(path), {}
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of every kind, as the bytes of a file may say anything
        message = (
            f"is not a state dict that can be read without running code ({_first(error)}); where it was made, save its "
            "tensors by safetensors.torch.save_file, and name that file"
        )
        raise UserError(Problem(message, path, key=key)) from None
    found = found if isinstance(found, dict) else {}
    facts, state = found.get("hyper_parameters"), found.get("state_dict", found)
    named = state.items() if isinstance(state, dict) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(Problem("holds no named tensors", path, key=key))
    return tensors, dict(facts) if isinstance(facts, Mapping) else {}


# What a checkpoint consists of


def _first_kind(files: Sequence[str]) -> list[str]:
    """The files of weights that are read, of all `files`; none where there are none."""
    return next((sorted(found) for kind in WEIGHTS if (found := fnmatch.filter(files, kind))), [])


def _check_layout(files: Sequence[str], name: str, key: str, folder: Path | None = None) -> list[str]:
    """Patterns of the files that are read. Raises `UserError` where they are not a transformers checkpoint, or, where
    they are in `folder`, not all shards of one.
    """
    if "config.json" not in files:
        raise UserError(Problem(f"'{name}' has no config.json, so it is not a transformers checkpoint", key=key))
    weights = _first_kind(files)
    if not weights:
        message = (
            f"'{name}' has no model.safetensors, nor a pytorch_model.bin; name a `revision` that has, such as the pull "
            "request that added it (refs/pr/1)"
        )
        raise UserError(Problem(message, key=key))
    if folder is not None and weights[0] not in WEIGHTS:
        _check_shards(weights, folder, key)
    return [*BESIDE, *weights]


def _check_shards(shards: Sequence[str], folder: Path, key: str) -> None:
    """Raise `UserError` where `folder` lacks a shard that its index names, or the index."""
    index = "model.safetensors.index.json" if shards[0].endswith(".safetensors") else "pytorch_model.bin.index.json"
    said = read_json_of(folder, index, key)
    if said is None:
        raise UserError(Problem(f"the weights are in several files, but {index} is not there", folder, key=key))
    named = said.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise UserError(Problem("has no weight_map from weights to files", folder / index, key=key))
    missing = sorted(set(named.values()) - set(shards))
    if missing:
        message = f"lacks {len(missing)} files of weights that {index} names, such as {missing[0]}; download them too"
        raise UserError(Problem(message, folder, key=key))


def _only_weights(files: Sequence[str], wanted: str | None, name: str, key: str) -> str:
    """The file of weights `wanted`, or the only one of the first kind that there is."""
    if wanted is not None:
        if wanted in files:
            return wanted
        raise UserError(Problem(f"'{name}' has no file '{wanted}'", key=key))
    found = next((found for kind in SINGLE if (found := sorted(fnmatch.filter(files, kind)))), [])
    if len(found) == 1:
        return found[0]
    what = f"several files of weights: name one of {', '.join(found)}" if found else "no file of weights"
    raise UserError(Problem(f"'{name}' has {what}{f' as {name}/FILE' if found else ''}", key=key))


def _check_revision(folder: Path, revision: str | None, key: str) -> None:
    """Raise `UserError` where a local folder is not known to be of `revision`."""
    if revision is None:
        return
    commit = _commit(folder)
    if commit is None or not commit.startswith(revision):
        known = f"which was downloaded from commit {commit}" if commit else "whose commit is not known"
        message = f"'{revision}' cannot be told of a local folder, {known}; leave it out, or name a model on the hub"
        raise UserError(Problem(message, folder, key=_beside(key, "revision")))


def _beside(key: str, name: str) -> str:
    """The key `name` of the section that `key` is in."""
    return ".".join([*key.split(".")[:-1], name])


def _commit(folder: Path) -> str | None:
    """The hub's commit that a folder holds: of its cache, or downloaded by `hf download --local-dir`."""
    if folder.parent.name == "snapshots":
        return folder.name
    for record in sorted((folder / ".cache" / "huggingface" / "download").glob("*.metadata")):
        lines = record.read_text(encoding="utf-8").splitlines()
        if lines and re.fullmatch("[0-9a-f]{40}", lines[0]):
            return lines[0]
    return None


# The hub


def _refuse_paths(name: str, key: str, what: str) -> None:
    """Raise `UserError` for what can only be a path."""
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(Problem(f"no {what} '{name}'", key=key))


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _from_hub(name: str, key: str, revision: str | None, choose: Choose) -> Path:
    """The folder with what `choose` takes of a repository's files."""
    try:
        cached, complete = _cached(name, revision, choose)
    except HFValidationError:
        raise UserError(Problem(f"no folder '{name}', and it is not a name on the Hugging Face hub", key=key)) from None
    if cached is not None and complete:
        return cached
    pinned = f" --revision {revision}" if revision else ""
    remedy = f"on a machine with network run 'hf download {name}{pinned} --local-dir FOLDER', and name that folder here"
    try:
        found = HfApi().model_info(name, revision=revision, timeout=PATIENCE_S)
        wanted = choose([sibling.rfilename for sibling in found.siblings or []], None)
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, etag_timeout=PATIENCE_S))
    except UserError:
        raise
    except GatedRepoError:
        message = f"'{name}' asks for an agreement: accept it on its page and log in with 'hf auth login'"
    except RevisionNotFoundError:
        message, key = f"'{name}' has no revision '{revision}' on the hub", _beside(key, "revision")
    except RepositoryNotFoundError:
        message = f"no folder '{name}', and the Hugging Face hub has no such model (or it is private)"
    except Exception as error:  # whatever stands between here and the hub: proxies, DNS, TLS, a full disk
        message = f"no folder '{name}', and it could not be had from the Hugging Face hub ({_first(error)}): {remedy}"
    if cached is not None:
        return cached
    raise UserError(Problem(message, key=key))


def _cached(name: str, revision: str | None, choose: Choose) -> tuple[Path | None, bool]:
    """The folder in the hub's cache, None where it lacks what `choose` needs, and whether it has all that is read."""

    def look(wanted: list[str] | None = None) -> tuple[str | None, bool]:
        try:
            found = snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=wanted)
            return found, True
        except LocalEntryNotFoundError as error:  # which names a folder that lacks files of the repository
            return getattr(error, "snapshot_path", None), False

    found, _ = look()
    if found is None:
        return None, False
    try:
        wanted = choose(_files_in(Path(found)), Path(found))
    except UserError:
        return None, False
    return Path(found), look(wanted)[1]


@contextmanager
def _explained(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise of every kind on a damaged file
        raise UserError(Problem(f"the checkpoint cannot be read: {_first(error)}", path, key=key)) from None


def _first(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # whose own text advises to let the file run its code
        return "damaged, or pickled objects other than tensors"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and notes on weights that are not used."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
