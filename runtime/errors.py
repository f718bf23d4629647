"""The exceptions of edgepress.

The command line prints an `EdgepressError` as one message; any other exception is a bug and keeps its traceback.

    EdgepressError
    ├── InputError            a path, image, array or option that can't be used
    ├── ModelFileError        a model file that is missing, truncated, of another format, or without a contract
    ├── EngineError           an engine that is unknown, or can't run this file
    ├── MissingExtraError     a missing package that an extra of edgepress installs
    ├── edgepress.converters.ConversionError      a scheme that could not be converted to
    ├── edgepress.toolkit.BoardError              a board that can't be reached, or a command that failed there
    ├── edgepress.toolkit.BundleError             a bundle that can't be built, or was changed or damaged
    ├── edgepress.toolkit.DataError               a data set that can't be used
    └── edgepress.toolkit.TrainingError           a training run that can't start or continue
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class EdgepressError(Exception):
    """Base class of all errors of edgepress.

    `message` says what failed, what was found and what is accepted; `hint`, which may be empty, what to do next.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message, self.hint = message, hint

    def to_dict(self) -> dict[str, str]:
        """The error as JSON documents show it."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(EdgepressError):
    """A path, image, array or option that can't be used."""

    kind = "input"


class ModelFileError(EdgepressError):
    """A model file that is missing, truncated, of another format, or without a contract."""

    kind = "model_file"


class EngineError(EdgepressError):
    """An engine that is unknown, or can't run this file."""

    kind = "engine"


class MissingExtraError(EdgepressError):
    """A missing package (by its name on PyPI) that an extra of edgepress installs.

    The message begins with `what`, the task that needs it ("Decoding an image").
    """

    kind = "missing_extra"

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed.",
            f"Install it with: pip install 'edgepress[{extra}]'",
        )
        self.args = (what, package, extra)  # so that the error can be pickled


def unknown(what: str, found: str, accepted: Iterable[str]) -> InputError:
    """The error for a name that is not accepted, suggesting the closest; `what` is its kind ("scheme")."""
    import difflib  # imported late: it is a fifth of the import time before a board's first answer

    names = list(accepted)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else ""
    return InputError(f"Unknown {what} {found!r}. Accepted: {', '.join(names)}.", hint)
