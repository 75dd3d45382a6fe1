"""The conformance checks of a model."""

from __future__ import annotations

from collections.abc import Iterator

from urbankit.pipeline.model import Model
from urbankit.pipeline.model_files import CARD, MODEL, is_model_folder
from urbankit.registry.models import packaged_folder
from urbankit.testing.candidate import Candidate, Check

LARGEST_MB = 5


def names_its_terms(candidate: Candidate) -> Iterator[str]:
    """It has a licence and an attribution."""
    for name in ("licence", "attribution"):
        text = getattr(candidate.component, name, None)
        if not isinstance(text, str) or not text.strip():
            yield f"`{name}` is {text!r}; give a text, which `urbankit show model {candidate.name}` prints"


def opens(candidate: Candidate) -> Iterator[str]:
    """Its folder is a whole model."""
    folder = packaged_folder(candidate.name)
    if not is_model_folder(folder):
        yield f"{folder} has no {MODEL}; put into it what `urbankit export RUN --to model` writes"
        return
    model = Model.open(folder)
    if not (model.state or model.heads):
        yield f"{folder} has neither weights nor heads; export the run again"


def is_small(candidate: Candidate) -> Iterator[str]:
    """Its folder is smaller than 5 MB."""
    size = sum(path.stat().st_size for path in packaged_folder(candidate.name).rglob("*") if path.is_file()) / 1e6
    if size >= LARGEST_MB:
        yield f"the folder has {size:.1f} MB; a package holds less than {LARGEST_MB} MB: train a narrower method"


def has_a_card(candidate: Candidate) -> Iterator[str]:
    """Its folder has a card."""
    card = packaged_folder(candidate.name) / CARD
    if not card.is_file() or not card.read_text(encoding="utf-8").strip():
        yield f"{card} is missing or empty; `urbankit export RUN --to model` writes it"


CHECKS: tuple[Check, ...] = (names_its_terms, opens, is_small, has_a_card)
