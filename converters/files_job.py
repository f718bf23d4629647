"""What the files of a conversion are made by: one job, which travels to the process of each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches
from edgepress.converters.statistics import Ranges
from edgepress.converters.targets import Target
from edgepress.converters.waist import Waist
from edgepress.runtime.contract import Contract

T = TypeVar("T")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FilesJob:
    """Make files of the model that is open.

    Attributes:
        targets: Path of each file by its scheme.
        contract: The contract of all files; each adds what depends on it.
        adapter: The operations before and after the model.
        calibration: Returns the calibration items.
        proof: Items to verify on; None means seeded ones.
        proof_name: Name of these items.
        enforce: Whether a file below its scheme's bound fails.
        waist: The float graph that TFLite files and tuned ONNX files are made from.
        target: What the files are for.
        rewrite: Whether the graphs are rewritten for it.
        learned: Ranges of tensors that were learned, by name (`edgepress tune`).
    """

    targets: Mapping[str, Path]
    contract: Contract
    adapter: InputAdapter
    calibration: Batches
    proof: Array | None
    proof_name: str
    enforce: bool
    waist: Waist
    target: Target = "cpu"
    rewrite: bool = True
    learned: Ranges = field(default_factory=dict)


class Once:
    """What several schemes share: each step's result, or its error, is made at its first call and kept.

    A second try would fail as slowly.
    """

    def __init__(self) -> None:
        self._results: dict[tuple[Any, ...], Any] = {}

    def __call__(self, step: Callable[..., T], *of: Any) -> T:
        """The result of a step and its arguments, which must be hashable."""
        if (step, *of) not in self._results:
            try:
                self._results[step, *of] = step(*of)
            except Exception as e:
                self._results[step, *of] = e
        result = self._results[step, *of]
        if isinstance(result, Exception):
            raise result
        return cast(T, result)
