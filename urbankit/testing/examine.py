"""Runs every conformance check on one component."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from urbankit import registry
from urbankit.testing import declaration
from urbankit.testing.candidate import Candidate, Check, ConformanceError
from urbankit.utils.errors import UserError


def examine(subject: Candidate) -> None:
    """Raise `ConformanceError` with everything that the checks of every kind and of the subject's own find."""
    __tracebackhide__ = True  # what pytest shows ends where the author's test calls
    try:
        registry.get(subject.kind, subject.name)
    except UserError as error:
        raise ConformanceError(_message(subject, [str(problem) for problem in error.problems])) from None
    module = registry.KINDS[subject.kind].checks
    own = importlib.import_module(module).CHECKS if module else ()
    with torch.random.fork_rng(devices=[]):
        faults = [fault for check in (*declaration.CHECKS, *own) for fault in _found(check, subject)]
    if faults:
        raise ConformanceError(_message(subject, faults))


def _found(check: Check, subject: Candidate) -> Iterator[str]:
    try:
        yield from check(subject)
    except UserError as error:
        for problem in error.problems:
            yield f"{_promise(check)}: it says: {problem}"
    except Exception as error:
        yield f"{_promise(check)}: it raises {type(error).__name__}: {error} ({_place(error, subject)})"


def _promise(check: Check) -> str:
    """The first line of the check's docstring, without the full stop."""
    return (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")


def _place(error: Exception, subject: Candidate) -> str:
    """The file and line of the component's package where it was raised, else where it was raised at all."""
    frames = traceback.extract_tb(error.__traceback__)
    module = importlib.import_module(subject.component.__module__)
    # A notebook's module has no file.
    package = getattr(module, "__file__", None)
    inside = [frame for frame in frames if package and frame.filename.startswith(str(Path(package).parent))]
    frame = (inside or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno}"


def _message(subject: Candidate, faults: Iterable[str]) -> str:
    return "\n".join([f"{subject} does not conform:", *(f"  - {fault}" for fault in faults)])
