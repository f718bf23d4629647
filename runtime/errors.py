"""Every error that edgepress raises on purpose.

The command line catches `EdgepressError` and prints it as one message; any other exception is a bug and keeps its
traceback. A test compares this tree with the classes. A class with a package before its name is in that package's
module `errors`.

    EdgepressError
    ├── InputError            a path, image, array or option that can't be used
    ├── ModelFileError        a model file that is missing, truncated, of another kind, or without a contract
    ├── EngineError           an engine that is unknown, or that can't run this file
    ├── MissingExtraError     a missing package that an extra of edgepress installs
    ├── UpdateError           an update that can't be fetched, is not trusted, or was not installed
    ├── edgepress.converters.ConversionError      a scheme that could not be made
    │   ├── edgepress.converters.UnlikeError      a file that answers too unlike its source model
    │   ├── edgepress.converters.ScaleError       channels too far apart in scale for integer kernels
    │   └── edgepress.converters.CollapseError    a training after which the model answers by chance
    ├── edgepress.toolkit.BoardError              a board that can't be reached, or a step that failed on it
    │   └── edgepress.toolkit.LostError           the connection to a board broke
    ├── edgepress.toolkit.BundleError             a bundle that can't be made, or that was changed or damaged
    ├── edgepress.toolkit.PublishError            a published folder, or keys, that can't be used as they are
    ├── edgepress.toolkit.DataError               a data set that can't be used as it is
    │   └── edgepress.toolkit.NoGroupsError       a rule of groups that data can't follow
    ├── edgepress.toolkit.TrainingError           a training run that can't start or continue
    │   └── edgepress.toolkit.NotANumberError     the loss became NaN or infinite
    ├── edgepress.toolkit.SweepError              a sweep that can't start or continue, or a job of one that failed
    │   ├── edgepress.toolkit.StoreError          a folder of results that can't be written, or a full disk
    │   ├── edgepress.toolkit.BusyError           a job that another process is doing at the moment
    │   ├── edgepress.toolkit.ClusterError        a cluster that can't be used, or is lost
    │   └── edgepress.toolkit.LostWorkerError     the process or machine that did a job ended before the job did
    │       └── edgepress.toolkit.LostProcessError    its process, by what it did itself
    ├── edgepress.toolkit.UsageError              arguments that the command line can't parse
    ├── edgepress.toolkit.InterruptError          Ctrl-C, or a signal to terminate
    └── edgepress.toolkit.BugError                an unexpected exception in a command
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from edgepress.runtime.text import MOST, one_line, without_login


class EdgepressError(Exception):
    """Base of all errors raised on purpose.

    `message` says what failed, what was found and what is accepted; `hint`, perhaps empty, what to do next. Logins in
    addresses are left out of both, because errors are logged, published and shown to others.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = without_login(message)
        self.hint = without_login(hint)
        super().__init__(self.message, self.hint)

    def to_dict(self) -> dict[str, str]:
        """The error as JSON documents show it."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return one_line(f"{self.message} {self.hint}".strip(), 4 * MOST)  # as tracebacks of users' programs show it


class InputError(EdgepressError):
    """A path, image, array or option that can't be used."""

    kind = "input"


class ModelFileError(EdgepressError):
    """A model file that is missing, truncated, of another kind, or without a contract."""

    kind = "model_file"


class EngineError(EdgepressError):
    """An engine that is unknown, or that can't run this file."""

    kind = "engine"


class MissingExtraError(EdgepressError):
    """A package (its name on PyPI) is missing; `extra` is the extra of edgepress that installs it, empty if none does.

    `what` was to be done ("Decoding an image"): the message begins with it.
    """

    kind = "missing_extra"

    def __init__(self, what: str, package: str, extra: str) -> None:
        requirement = f"'edgepress[{extra}]'" if extra else package
        reason = f"{what} needs the package {package}, which is not installed."
        super().__init__(reason, f"Install it with: pip install {requirement}")
        self.args = (what, package, extra)  # so that the error survives pickling between processes


class UpdateError(EdgepressError):
    """An update that can't be fetched, is not trusted, or was not installed."""

    kind = "update"


READERS = ("flatbuffers", "h5py", "keras", "onnx", "tensorflow", "tf_keras")
"""Packages with parsers. A foreign file may name any module, so no other name is told to be installed."""


def unknown(what: str, name: str, accepted: Iterable[str]) -> InputError:
    """The error for a name that is not in a table, with the nearest that is; `what` it stands for ("scheme")."""
    import difflib  # here: it is a fifth of what a board would import to answer its first image

    names = list(accepted)
    ends = [each for each in names if name and each.endswith(f"-{name}")]
    near = ends or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InputError(f"Unknown {what} {name!r}. Accepted: {', '.join(names)}.", hint)


def first_line(error: BaseException) -> str:
    """What an exception of a library says: its first line, each sentence once.

    TensorFlow, Keras, ONNX and LiteRT write several lines, with their tracebacks, and LiteRT repeats sentences.
    """
    sentences = re.split(r"(?<=[.)])\s*(?=[A-Z][a-z]+ )", str(error).strip().partition("\n")[0])
    return " ".join({text.rstrip(". "): text for text in sentences}.values()).rstrip(". ")


def reason_of(error: BaseException) -> str:
    """`first_line`, after the name of the exception's class where the text alone says little, as that of a KeyError."""
    if isinstance(error, struct.error):  # its text counts bytes of a buffer that nobody else knows
        return "an offset leads out of it"
    text = first_line(error)
    return (
        text
        if text and type(error) in (ValueError, RuntimeError)
        else f"{type(error).__name__}: {text}".removesuffix(": ")
    )


@contextmanager
def parsing(
    path: object,
    hint: str = "Copy or convert it again.",
    *,
    failed: str = "is damaged or of another kind",
    error: type[EdgepressError] = ModelFileError,
) -> Iterator[None]:
    """Turn any exception of a parser into an error about the file that it parses.

    Its message is "PATH FAILED (REASON).", or "PATH can't be read: ..." if it can't be opened. zipfile, h5py, protobuf,
    flatbuffers, json and the engines raise many kinds of exceptions on damaged files, OverflowError and SystemError
    among them, so a list of kinds would not be complete. Only the reading of a foreign file belongs in the block: a bug
    elsewhere keeps its traceback. Errors about models that do not name the file get its path.

    Raises:
        MissingExtraError: One of `READERS` is not installed.
        EdgepressError: Of the class `error`; something other than an `EdgepressError` was raised in the block.
    """
    try:
        yield
    except EdgepressError as e:
        if e.kind in ("model_file", "conversion") and str(path).rpartition("/")[2] not in e.message:
            e.message = f"{path}: {e.message}"
            e.args = (e.message, e.hint)
        raise
    except Exception as e:
        if isinstance(e, ModuleNotFoundError) and (name := str(e.name).partition(".")[0]) in READERS:
            raise MissingExtraError(f"Reading {path}", name.replace("_", "-"), "toolkit") from e
        if isinstance(e, OSError) and e.strerror and str(e.filename) == str(path):
            raise error(f"{path} can't be read: {e.strerror}.", "Check the path.") from e
        failed = "needs more memory than there is" if isinstance(e, MemoryError) else failed
        raise error(f"{path} {failed} ({reason_of(e)}).", hint) from e
