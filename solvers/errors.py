"""The exceptions of the project: each message is one sentence that says what to change."""

from __future__ import annotations

from typing import Any


class InputError(ValueError):
    """An argument was refused at the door; the message names it and says what would be accepted."""


class PluginError(TypeError):
    """A user's activation, loss, regularizer, feature map or functional is wrong; the message says how."""


class FileFormatError(ValueError):
    """A file is truncated, is of another format, or holds objects that this library refuses to load."""


class DivergenceError(RuntimeError):
    """A run left the finite numbers, or its step size collapsed.

    Attributes
    ----------
    run : Trajectory
        The run up to the last good state, with its status and advice.
    """

    def __init__(self, message: str, run: Any = None) -> None:
        super().__init__(message)
        self.run = run
