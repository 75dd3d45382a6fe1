"""Runs every conformance check on one component."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from urbankit import registry
from urbankit.registry.failure import ComponentError
from urbankit.testing import declaration
from urbankit.testing.candidate import Candidate, Check, ConformanceError
from urbankit.utils.errors import UserError


def examine(candidate: Candidate) -> None:
    """Run the checks of every kind and those of the component's kind. Raises `ConformanceError` with all faults."""
    __tracebackhide__ = True  # the traceback of pytest ends at the line of the test
    try:
        registry.get(candidate.kind, candidate.name)
    except UserError as error:
        raise ConformanceError(_message(candidate, [str(problem) for problem in error.problems])) from None
    module = registry.KINDS[candidate.kind].checks
    checks = importlib.import_module(module).CHECKS if module else ()
    with torch.random.fork_rng(devices=[]):
        faults = [fault for check in (*declaration.CHECKS, *checks) for fault in _faults(check, candidate)]
    if faults:
        # A fault that stops several checks is one fault.
        raise ConformanceError(_message(candidate, dict.fromkeys(faults)))


def _faults(check: Check, candidate: Candidate) -> Iterator[str]:
    try:
        yield from check(candidate)
    except UserError as error:
        for problem in error.problems:
            yield f"{_requirement(check)}: UserError: {problem}"
    except ComponentError as error:
        yield str(error)
    except Exception as error:
        yield f"{_requirement(check)}: it raises {type(error).__name__}: {error} ({_location(error, candidate)})"


def _requirement(check: Check) -> str:
    """Return the first line of the check's docstring, without the full stop."""
    return (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")


def _location(error: Exception, candidate: Candidate) -> str:
    """Return the last line of the traceback in the component's package, else the last line, as file:line."""
    frames = traceback.extract_tb(error.__traceback__)
    module = importlib.import_module(candidate.component.__module__)
    # A notebook's module has no file.
    package = getattr(module, "__file__", None)
    inside = [frame for frame in frames if package and frame.filename.startswith(str(Path(package).parent))]
    frame = (inside or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno}"


def _message(candidate: Candidate, faults: Iterable[str]) -> str:
    return "\n".join([f"{candidate} does not conform:", *(f"  - {fault}" for fault in faults)])
