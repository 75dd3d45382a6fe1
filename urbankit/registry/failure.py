"""Errors that a plugin raises while its component is used."""

from __future__ import annotations

from urbankit.registry.contain import describe
from urbankit.registry.registry import blame
from urbankit.utils.errors import UrbankitError


class ComponentError(UrbankitError):
    """The code of a component failed, or ended the process (exit status 1)."""


def explained(error: BaseException) -> BaseException:
    """Return an error that names the plugin and component whose code raised `error`, or else `error` itself.

    `SystemExit` always becomes such an error: a library that ends the process must not make a command succeed.
    """
    if isinstance(error, UrbankitError | KeyboardInterrupt | GeneratorExit | OSError | MemoryError):
        return error
    entry = blame(error)
    if entry is not None:
        return ComponentError(f"{entry} failed: {describe(error)}. Set URBANKIT_DEBUG=1 to see where.")
    if isinstance(error, SystemExit):
        return ComponentError(f"a library ended the process ({describe(error)}). Set URBANKIT_DEBUG=1 to see where.")
    return error
