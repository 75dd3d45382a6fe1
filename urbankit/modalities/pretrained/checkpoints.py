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

from urbankit.modalities.pretrained.installed import installed_file, installed_folder, is_installed_name, version_of
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hashes
from urbankit.utils.paths import links_outside, resolve_inside

# If a checkpoint has several of these, the first is read. Pickles are read only by torch's weights-only reader, which
# builds tensors and plain containers and calls nothing else. Python files of a repository are never read.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
BESIDE = ("*.json", "*.jinja", "*.txt", "*.model")
SINGLE = ("*.safetensors", "*.ckpt", "*.pt", "*.pth", "*.bin")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
PATIENCE_S = 5.0

Choose = Callable[[list[str], Path | None], list[str]]
"""Returns patterns of the files to read, from all files of a repository and its local folder (None if it is not
downloaded). Raises `UserError` if a file is missing."""


def checkpoint_folder(name: str, key: str, revision: str | None = None) -> Path:
    """The local folder of the checkpoint `name`: that folder itself, or what the hub has under that name.

    A copy in the hub's cache is used without asking the network. Without a network the answer takes seconds.

    Args:
        name: a folder in the hub's layout (`config.json`, `model.safetensors`), or a hub name such as
            `openai/clip-vit-base-patch32`, or `pip:NAME` for one in an installed package.
        key: the recipe's key, for the message.
        revision: branch, tag or commit of a hub name; of a folder, the commit that it was downloaded from.

    Raises:
        UserError: there is no such folder, name or revision, the hub cannot be reached, or it has no weights that can
            be read.
    """
    folder = installed_folder(name, key) if is_installed_name(name) else Path(name).expanduser()
    if folder.is_dir():
        _check_layout([path.name for path in folder.iterdir()], name, key, folder)
        _check_links(folder, key)
        _check_revision(folder, revision, key)
        return folder
    _refuse_paths(name, key, "folder")
    return _from_hub(name, key, revision, lambda files, cached: _check_layout(files, name, key, cached))


def weights_file(name: str, key: str, revision: str | None = None, prefer: str = "") -> Path:
    """The local file of weights `name`: that file itself, or the one that a hub repository has.

    Args:
        name: a file, a hub name with one file of weights, or such a name and the file: `owner/model/weights.ckpt`. Or
            an installed package, with or without the file: `pip:geoclip`.
        key, revision: as for `checkpoint_folder`.
        prefer: part of the name of the file that is meant if an installed package has several.

    Raises:
        UserError: there is no such file, name or revision, the hub cannot be reached, or it has several such files.
    """
    path = installed_file(name, SINGLE, prefer, key) if is_installed_name(name) else Path(name).expanduser()
    if path.is_file():
        _check_revision(path.parent, revision, key)
        return path
    *owner, last = name.split("/")
    file = last if len(owner) == 2 else None
    repository = "/".join(owner) if file else name
    if name.count("/") == 0 or (file is None and path.suffix in {Path(kind).suffix for kind in SINGLE}):
        raise UserError(Problem("file not found", path, key=key))
    _refuse_paths(repository, key, "file")
    folder = _from_hub(repository, key, revision, lambda files, _: [_only_weights(files, file, repository, key)])
    return folder / _only_weights(_files_in(folder), file, repository, key)


def provenance(name: str, path: Path) -> dict[str, str | None]:
    """What was loaded, for a manifest: its name, the hub's commit where that is known, and a hash of the weights.

    `path` is what `checkpoint_folder` or `weights_file` gave for `name`. The hash is the SHA-256 of the file, as the
    hub shows it, by `known_hash`; of several files, of their hashes.
    """
    hashes = cached_hashes(local_weights(path))
    weights = hashes[0] if len(hashes) == 1 else hash_json(hashes)
    name = version_of(name) if is_installed_name(name) else name
    return {"name": name, "commit": _commit(path if path.is_dir() else path.parent), "weights": weights}


def local_weights(path: Path) -> list[Path]:
    """Return the files of weights of a local checkpoint, or the checkpoint itself if it is a file; empty if missing."""
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
    # Without its files transformers would silently make an empty tokenizer.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(
            Problem(f"the checkpoint has no tokenizer (none of {', '.join(VOCABULARIES)})", folder, key=key)
        )
    with _explained(folder, key):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_processor(folder: Path, key: str) -> Any:
    """The transformers processor in `folder`, which makes a model's inputs of images and texts."""
    with _explained(folder, key), _quiet():
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    missing = [part for part in ("image_processor", "tokenizer") if getattr(processor, part, None) is None]
    if missing:
        message = f"the checkpoint has no {' and no '.join(missing)}; copy preprocessor and tokenizer files beside it"
        raise UserError(Problem(message, folder, key=key))
    return processor


def read_json_of(folder: Path, name: str, key: str, kind: type = dict) -> Any:
    """Return the content of the JSON file `name` of a checkpoint; None if there is no such file inside its folder.

    Raises `UserError` if the file is not JSON, or its content is not of type `kind`.
    """
    path = resolve_inside(folder, name)
    if path is None or not path.is_file():
        return None
    with _explained(path, key):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, kind):
        message = f"must hold a JSON {'list' if kind is list else 'object'}, not {type(content).__name__}"
        raise UserError(Problem(message, path, key=key))
    return content


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
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise any exception
        message = (
            f"is not a state dict that can be read without running code ({_first(error)}); save its tensors with "
            "safetensors.torch.save_file on the machine that made it, and use that file"
        )
        raise UserError(Problem(message, path, key=key)) from None
    content = content if isinstance(content, dict) else {}
    facts, state = content.get("hyper_parameters"), content.get("state_dict", content)
    named = state.items() if isinstance(state, dict) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(Problem("holds no named tensors", path, key=key))
    return tensors, dict(facts) if isinstance(facts, Mapping) else {}


# What a checkpoint consists of


def _first_kind(files: Sequence[str]) -> list[str]:
    """Return the files of weights among `files` in the preferred format; an empty list if there are none."""
    return next((sorted(matches) for kind in WEIGHTS if (matches := fnmatch.filter(files, kind))), [])


def _check_layout(files: Sequence[str], name: str, key: str, folder: Path | None = None) -> list[str]:
    """Return patterns of the files that are read.

    Raises `UserError` if they are not a transformers checkpoint, or if `folder` lacks some of its shards.
    """
    if "config.json" not in files:
        raise UserError(Problem(f"'{name}' has no config.json, so it is not a transformers checkpoint", key=key))
    weights = _first_kind(files)
    if not weights:
        message = (
            f"'{name}' has neither model.safetensors nor pytorch_model.bin; name another `revision`, such as the pull "
            "request that added it (refs/pr/1)"
        )
        raise UserError(Problem(message, key=key))
    if folder is not None and weights[0] not in WEIGHTS:
        _check_shards(weights, folder, key)
    return [*BESIDE, *weights]


def _check_shards(shards: Sequence[str], folder: Path, key: str) -> None:
    """Raise `UserError` if `folder` lacks the index of the shards, or a shard that the index names."""
    index = "model.safetensors.index.json" if shards[0].endswith(".safetensors") else "pytorch_model.bin.index.json"
    content = read_json_of(folder, index, key)
    if content is None:
        raise UserError(Problem(f"the weights are in several files, but {index} is missing", folder, key=key))
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise UserError(Problem("has no weight_map from weights to files", folder / index, key=key))
    missing = sorted(set(named.values()) - set(shards))
    if missing:
        message = f"lacks {len(missing)} files of weights that {index} names, such as {missing[0]}; download them too"
        raise UserError(Problem(message, folder, key=key))


def _only_weights(files: Sequence[str], requested: str | None, name: str, key: str) -> str:
    """Return the `requested` file of weights, or the only one in the preferred format."""
    if requested is not None:
        if requested in files:
            return requested
        raise UserError(Problem(f"'{name}' has no file '{requested}'", key=key))
    matches = next((matches for kind in SINGLE if (matches := sorted(fnmatch.filter(files, kind)))), [])
    if len(matches) == 1:
        return matches[0]
    what = f"several files of weights: name one of {', '.join(matches)}" if matches else "no file of weights"
    raise UserError(Problem(f"'{name}' has {what}{f' as {name}/FILE' if matches else ''}", key=key))


def _check_links(folder: Path, key: str) -> None:
    """Raise `UserError` where files of a local checkpoint are links out of its folder, or of the hub's cache of it."""
    links = links_outside(folder, folder.parent.parent if folder.parent.name == "snapshots" else folder)
    if links:
        message = f"{links[0].name} is a link to {links[0].resolve()}, outside the folder; copy that file into it"
        raise UserError(Problem(message, folder, key=key))


def _check_revision(folder: Path, revision: str | None, key: str) -> None:
    """Raise `UserError` if a local folder is not known to hold `revision`."""
    if revision is None:
        return
    commit = _commit(folder)
    if commit is None or not commit.startswith(revision):
        origin = f"the folder was downloaded from commit {commit}" if commit else "its commit is not known"
        message = f"'{revision}' does not apply to this local folder: {origin}; remove it, or name a model on the hub"
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
    """Raise `UserError` for a name that can only be a path."""
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(Problem(f"no {what} '{name}'", key=key))


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _from_hub(name: str, key: str, revision: str | None, choose: Choose) -> Path:
    """Return the folder with those files of a repository that `choose` selects."""
    try:
        cached, complete = _cached(name, revision, choose)
    except HFValidationError:
        raise UserError(Problem(f"no folder '{name}', and it is not a name on the Hugging Face hub", key=key)) from None
    if cached is not None and complete:
        return cached
    pinned = f" --revision {revision}" if revision else ""
    remedy = f"on a machine with network run 'hf download {name}{pinned} --local-dir FOLDER', and name that folder here"
    try:
        info = HfApi().model_info(name, revision=revision, timeout=PATIENCE_S)
        patterns = choose([sibling.rfilename for sibling in info.siblings or []], None)
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, etag_timeout=PATIENCE_S))
    except UserError:
        raise
    except GatedRepoError:
        message = f"'{name}' is gated: accept its terms on its page and log in with 'hf auth login'"
    except RevisionNotFoundError:
        message, key = f"'{name}' has no revision '{revision}' on the hub", _beside(key, "revision")
    except RepositoryNotFoundError:
        message = f"no folder '{name}', and the Hugging Face hub has no such model (or it is private)"
    except Exception as error:  # proxies, DNS, TLS, a full disk
        message = f"no folder '{name}', and the download from the Hugging Face hub failed ({_first(error)}): {remedy}"
    if cached is not None:
        return cached
    raise UserError(Problem(message, key=key))


def _cached(name: str, revision: str | None, choose: Choose) -> tuple[Path | None, bool]:
    """Return the folder in the hub's cache (None if `choose` needs more files), and whether it is complete."""

    def look_up(patterns: list[str] | None = None) -> tuple[str | None, bool]:
        try:
            folder = snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=patterns)
            return folder, True
        except LocalEntryNotFoundError as error:  # names a folder that lacks files of the repository
            return getattr(error, "snapshot_path", None), False

    folder, _ = look_up()
    if folder is None:
        return None, False
    try:
        patterns = choose(_files_in(Path(folder)), Path(folder))
    except UserError:
        return None, False
    return Path(folder), look_up(patterns)[1]


@contextmanager
def _explained(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise many exceptions on a damaged file
        raise UserError(Problem(f"the checkpoint cannot be read: {_first(error)}", path, key=key)) from None


def _first(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # its own text advises to run the code in the file
        return "damaged, or pickled objects other than tensors"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars of transformers and its notes on unused weights."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
