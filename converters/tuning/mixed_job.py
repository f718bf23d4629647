"""Choose the float layers of files of mixed precision from the files that a conversion would really make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import Batches, tflite_ranges
from edgepress.converters.errors import ConversionError
from edgepress.converters.kept import KeepOptions, Kept
from edgepress.converters.rewrites.table import Stage, rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.tuning.judge import Judge
from edgepress.converters.tuning.mixed import choose

Array = npt.NDArray[Any]
Validation = Callable[[], tuple[Array, Array | None]]
"""Returns validation items (n, *item shape), and their labels (n,), or None where there are none."""
SIMULATED = 200
"""Calibration items on which losses are simulated, at most."""


@dataclass(frozen=True)
class MixedJob:
    """Choose what stays float.

    Attributes:
        options: What the user says.
        calibration: Returns the calibration items.
        input_range: Range of the input, if it is known beforehand.
        uint8: Whether files take uint8, as those of images do.
        validation: Validation items; None takes the calibration items, without labels.
        labelled: Whether outputs are scores of labels.
        rewrite: Whether graphs are rewritten to be faster.
    """

    options: KeepOptions
    calibration: Batches
    input_range: tuple[float, float] | None
    uint8: bool
    validation: Validation | None = None
    labelled: bool = True
    rewrite: bool = True

    def choose(self, graph: bytes) -> Kept:
        """The layers to keep in float.

        Args:
            graph: The float `.tflite` that the int8 file would be made from.

        Raises:
            ConversionError: There is no choice within the limit, or it can't be found for this model.
        """
        scheme = SCHEMES["tflite-mixed"]
        before, recipe, after = (
            rewrites_for(scheme, "cpu", stage) if self.rewrite else () for stage in get_args(Stage)
        )
        model, _ = rewritten_tflite(graph, before)
        ranges, chosen = tflite_ranges(model, self.calibration, self.input_range), rewritten_tflite(model, recipe)[1]

        def make(kept: Kept) -> bytes:
            made = with_scheme(model, scheme, ranges, chosen, uint8=self.uint8, kept=kept)
            return rewritten_tflite(made, after)[0]

        items = self._simulated()
        found, labels = self.validation() if self.validation is not None else (items, None)
        judge = Judge(graph, found, labels, labelled=self.labelled, uint8=self.uint8)
        return choose(graph, make, judge, items, self.options)

    def _simulated(self) -> Array:
        found: list[Array] = []
        for batch in self.calibration():
            found.append(batch)
            if sum(map(len, found)) >= SIMULATED:
                break
        if not found:
            raise ConversionError("There are no calibration items.", "Give data with a non-empty training split.")
        return np.concatenate(found)[:SIMULATED]
