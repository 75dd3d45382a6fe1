"""Models on the Hugging Face hub: `push` uploads a model folder, and `pull` downloads one and checks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from urbankit.export.export import export
from urbankit.pipeline.model import Model
from urbankit.pipeline.model_files import CARD, HEADS, MODEL, WEIGHTS, check_replaceable, is_model_folder
from urbankit.runs.folder import Run
from urbankit.utils.errors import REMEDIES, Problem, RunError, UrbankitError, UserError
from urbankit.utils.files import file_check, replace_file
from urbankit.utils.ledger import LEDGER, PARTIAL, Ledger, record
from urbankit.utils.removal import new_folder, remove_recorded, work_folder
from urbankit.utils.text import first_line, list_some

NEEDED = (MODEL, WEIGHTS, HEADS, LEDGER)
FILES = (*NEEDED, CARD)
"""The files of a model. No others are uploaded or downloaded."""

OF_HUB = ".gitattributes"
"""A file that the hub puts into each repository."""

PATIENCE_S = 5.0
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


class Transferred(NamedTuple):
    """Where a model is now, a folder or a page of the hub, and notes."""

    place: str
    notes: list[str]


def push(source: str | Path, name: str, *, public: bool = False) -> Transferred:
    """Upload a model to the hub, in one commit. A repository that does not exist is made.

    Args:
        source: A model folder, the name of an installed model, or a run, which is exported as a model first.
        name: The repository, `owner/name`.
        public: Whether everybody can read a repository that is made; an existing one stays as it is.

    Raises:
        UserError: If `source` is no model or is damaged, `name` is no name, the repository holds something else, or the
            hub refuses the token.
        RunError: If the hub cannot be reached.
    """
    _check_name(name)
    model = Model.open(source)
    with TemporaryDirectory() as temporary:
        folder, notes = model.path, list[str]()
        if not is_model_folder(folder):
            [exported] = export(Run.open(folder), "model", out=Path(temporary, "model"))
            folder, notes = exported.path, list(exported.notes)
        notes += _licence_notes(folder / CARD)
        with _explained(name):
            api = HfApi()
            api.create_repo(name, private=not public, exist_ok=True)
            there = api.model_info(name, timeout=PATIENCE_S)
            _check_repository([file.rfilename for file in there.siblings or []], name)
            files = [CommitOperationAdd(file, folder / file) for file in FILES if (folder / file).is_file()]
            message = f"{model.facts['method']} of {model.facts['city']}, by urbankit"
            commit = api.create_commit(name, files, commit_message=message, parent_commit=there.sha)
    return Transferred(str(commit.repo_url), notes)


def pull(name: str, out: str | Path | None = None, *, revision: str | None = None) -> Transferred:
    """Download a model from the hub. The folder is there as a whole, or as it was before.

    Only the files of a model are downloaded. They are compared with the sizes and hashes in the model's ledger.

    Args:
        name: The repository, `owner/name`.
        out: The folder to write; by default `name` in the working folder. It may hold an unchanged model, which is
            replaced.
        revision: A branch, a tag or a commit; by default the main branch.

    Raises:
        UserError: If there is no such repository or revision, it is no model or is damaged, the hub refuses the token,
            or `out` holds something else.
        RunError: If the hub cannot be reached, or the download breaks off.
    """
    _check_name(name)
    folder = Path(out if out is not None else name.split("/")[1]).absolute()
    check_replaceable(folder, "choose another --out")
    api = HfApi()
    with _explained(name, revision):
        there = api.model_info(name, revision=revision, timeout=PATIENCE_S)
    files = {file.rfilename for file in there.siblings or []}
    if missing := [file for file in NEEDED if file not in files]:
        raise UserError(Problem(f"is no model of urbankit: it lacks {', '.join(missing)}", name))
    with new_folder(folder) as new:
        with work_folder(new / f"{PARTIAL}download") as downloads:
            for file in sorted(files.intersection(FILES)):
                with _explained(name, revision):
                    api.hf_hub_download(name, file, revision=there.sha, local_dir=downloads)
                replace_file(downloads / file, new / file)
        _check(new, name)
        if is_model_folder(folder):
            remove_recorded(folder)
    others = sorted(files.difference(FILES, [OF_HUB]))
    notes = [f"{name}, commit {there.sha}"]
    return Transferred(str(folder), notes + ([f"not downloaded: {list_some(others)}"] if others else []))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UserError(f"'{name}' is no name on the Hugging Face hub; write OWNER/NAME")


def _check_repository(files: list[str], name: str) -> None:
    """Raise `UserError` for a repository that holds something else than a model of urbankit."""
    others = sorted(set(files).difference([OF_HUB, CARD]))
    if others and MODEL not in files:
        raise UserError(Problem(f"holds something else ({list_some(others)}); choose another name", name))


def _licence_notes(card: Path) -> list[str]:
    """A note if the card names no licence. Raises `UserError` if its front matter cannot be read."""
    if not card.is_file():
        return [f"the model has no {CARD}, which says what it is"]
    try:
        licence = ModelCard.load(card, ignore_metadata_errors=False).data.license
    except Exception as error:  # of YAML, or of the fields
        raise UserError(Problem(f"the front matter cannot be read: {first_line(error)}", card)) from None
    if licence not in (None, "other"):
        return []
    return [f"{CARD} names no licence; write it and whom to name into the {CARD} of the model folder, and push again"]


def _check(folder: Path, name: str) -> None:
    """Raise `UserError` if a downloaded folder is not a whole model; its messages name the repository."""
    ledger = Ledger(folder)
    if strange := sorted(set(ledger.files).difference(FILES)):
        raise UserError(Problem(f"lists files that no model has: {list_some(strange)}", f"{name}/{LEDGER}"))
    try:
        model = Model.open(folder)
        model.recipe, model.state, model.heads  # noqa: B018  read them
    except UserError as error:
        raise UserError(
            replace(one, file=name if Path(one.file or folder) == folder else f"{name}/{Path(str(one.file)).name}")
            for one in error.problems
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(Problem(f"is no description of a model ({first_line(error)})", f"{name}/{MODEL}")) from None
    card = folder / CARD
    if not card.is_file() or not ledger.accepts(CARD, file_check(card)):  # somebody has edited it on the hub
        record(folder, card, file_check(card) if card.is_file() else {})


@contextmanager
def _explained(name: str, revision: str | None = None) -> Iterator[None]:
    """Raise what the hub answers as an error for the user."""
    try:
        yield
    except UrbankitError:
        raise
    except Exception as caught:  # of the hub's client, of proxies, DNS and TLS
        error: BaseException = caught
        if isinstance(error, LocalEntryNotFoundError):  # the client raises it from the answer of the hub
            error = error.__cause__ or error
        if getattr(error, "errno", None) in REMEDIES:  # of the disk
            raise
        if refused := _refusal(error, revision):
            raise UserError(Problem(refused, name)) from None
        reason = f"the transfer with {HfApi().endpoint} failed ({first_line(error)}); try again"
        raise RunError(Problem(reason, name)) from None


def _refusal(error: BaseException, revision: str | None) -> str | None:
    """Return why the hub refuses a request; None for another failure."""
    if isinstance(error, GatedRepoError):
        return f"is gated: accept its terms on its page, and {LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"has no revision '{revision}'"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no such repository, or it is private: check the name, or {LOG_IN}"
    if isinstance(error, HFValidationError):
        return f"is no name on the Hugging Face hub: {first_line(error)}"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 403:
        return "the token may not do this: use one that may read the repository, or for a push write to it"
    return f"the hub needs a token, or does not accept this one: {LOG_IN}" if status == 401 else None
