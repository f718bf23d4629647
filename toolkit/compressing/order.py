"""What to compress, and where it shall run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.data.types import DataSet


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to compress, and where it shall run.

    Attributes:
        model: The source model.
        data: The data as the user named them; None: those of the model's contract.
        hints: What the user knows of a model made elsewhere.
        opened: The data, opened as the model's files take them.
        format: Format of the files, "tflite" or "onnx".
        engine: Engine that runs them.
        arch: Architecture of the model, if edgepress trained it; "" if it is not known.
        board: Host of the board that latency counts on, as for ssh; "": this machine.
        python: The board's Python.
        ssh_config: As for `ssh -F`.
        memory: Whether the memory of a file is asked for.
        seed: Seed of trainings.
        skip_unreadable: Leave out images that can't be read.
        install: Whether onnx2tf may be installed.
    """

    model: Path
    data: str | None
    hints: Hints
    opened: DataSet
    format: str
    engine: str
    arch: str = ""
    board: str = ""
    python: str | None = None
    ssh_config: Path | None = None
    memory: bool = False
    seed: int = 0
    skip_unreadable: bool = False
    install: bool = True

    @property
    def validation(self) -> DataSet:
        """The data with the validation items in place of the test items, for what measures on "test" items."""
        return self.opened.tested_on("val")
