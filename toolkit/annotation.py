"""Describe a file that others made, in a copy that every command and every board takes: `annotate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepress.converters import annotation
from edgepress.converters.contract.hints import Hints
from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import Contract
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.data.for_model import SILENCE_S, describe_published
from edgepress.toolkit.errors import InputError, ModelFileError


@dataclass(frozen=True)
class Annotated:
    """A described file.

    Attributes:
        path: The copy, or the JSON file with the contract alone.
        contract: Its contract.
        notes: One line on each value of it that was found or guessed.
    """

    path: Path
    contract: Contract
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document that `annotate --json` prints."""
        return {
            "file": str(self.path),
            "size_bytes": self.path.stat().st_size,
            "contract": asdict(self.contract),
            "notes": list(self.notes),
        }


def annotate(file: str | Path, out: str | Path, *, hints: Hints | None = None) -> Annotated:
    """Write a description of a `.tflite` or `.onnx` classifier, quantized or not, into a copy of it.

    The copy holds the contract with a self-test and the standard metadata that other tools read. Its weights and
    answers are those of the file. The contract comes from `hints`, then from a contract or other metadata in the file.

    Args:
        file: A `.tflite` or `.onnx` classifier, whoever made it.
        out: The copy, of the same format; or a path that ends in `.json`, to write the contract alone, for
            `python -m edgepress.runtime ... --contract`.
        hints: What you know of it.

    Raises:
        EdgepressError: The file can't be opened or is not a classifier, too little is known of it, or `out` can't be
            written.

    Example:
        >>> from edgepress.toolkit import annotate
        >>> annotate("edgepress-demo/variants/model-int8.tflite", "annotated.tflite").contract.task
        'softmax'
    """
    path = Path(file)
    target = Path(out)
    format = file_format(Path(file))
    if target.suffix not in (f".{format}", ".json"):
        raise InputError(
            f"{target} can't be a copy of {path}.", f"Name a .{format} file, or .json for the contract alone."
        )
    if target.exists() and target.samefile(path):
        raise InputError(f"{target} is the file itself, and would be overwritten.", "Name another file.")
    description = describe_published(path, hints or Hints())
    contract = write_annotated(path, description.contract, target)
    none = "no self-test: its answers to random items are not finite, or not probabilities"
    return Annotated(target, contract, (*description.notes, *([none] if contract.selftest is None else [])))


def write_annotated(file: Path, contract: Contract, out: Path) -> Contract:
    """Write a copy of a file that carries a contract, in a child process; returns the contract, with a self-test.

    Raises:
        EdgepressError: The file can't be run or rewritten, or the copy can't be written.
    """
    try:
        job = annotation.AnnotateJob(file, contract, out)
        (written,) = run_in_child(annotation.annotate, job, silence_s=SILENCE_S)
    except ChildDied as e:
        raise ModelFileError(f"{file} crashed the process that ran it ({e}).", "It is damaged: copy it again.") from e
    assert isinstance(written, Contract)
    return written
