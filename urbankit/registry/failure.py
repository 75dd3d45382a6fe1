"""Errors that a plugin raises while its component is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from urbankit.registry.contain import describe
from urbankit.registry.registry import blame, entries, failed_plugins
from urbankit.utils.errors import Problem, UrbankitError, UserError


class ComponentError(UrbankitError):
    """The code of a component failed, or ended the process (exit status 1)."""


def explained(error: BaseException) -> BaseException:
    """Return an error that names the plugin and component whose code raised `error`, or else `error` itself.

    `SystemExit` always becomes such an error: a library that ends the process must not make a command succeed. An error
    of many problems says once why a plugin or component does not load.
    """
    if isinstance(error, UrbankitError) and len(error.problems) > 1:
        return _explaining_plugins_once(error)
    if isinstance(error, UrbankitError | KeyboardInterrupt | GeneratorExit | OSError | MemoryError):
        return error
    entry = blame(error)
    if entry is not None:
        return ComponentError(f"{entry} failed: {describe(error)}. Set URBANKIT_DEBUG=1 to see where.")
    if isinstance(error, SystemExit):
        return ComponentError(f"a library ended the process ({describe(error)}). Set URBANKIT_DEBUG=1 to see where.")
    return error


def _explaining_plugins_once(error: UrbankitError) -> UrbankitError:
    try:
        sentences = [f" {plugin.explanation}" for plugin in failed_plugins()]
        components = [str(entry) for entry in entries()]
    except UserError:  # the plugins that the user names are wrong, which is the error itself
        return error
    return type(error)(_without_repeats(error.problems, sentences, components))


def _without_repeats(
    problems: Iterable[Problem], sentences: Iterable[str], components: Iterable[str]
) -> Iterator[Problem]:
    """Yield the problems, each of the `sentences` and each message on one of the `components` in the first only."""
    mentioned: set[str] = set()
    for problem in problems:
        message = problem.message
        component = next((name for name in components if message.startswith(name)), None)
        if component is not None and message in mentioned:
            message = f"{component}: as above"
        mentioned.add(problem.message)
        for sentence in sentences:
            if sentence in message:
                message = message.replace(sentence, "") if sentence in mentioned else message
                mentioned.add(sentence)
        yield replace(problem, message=message)
