"""The options of a conversion, from the command line to the process that makes a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypedDict

from edgepress.converters.numeric.statistics import CALIBRATION_METHODS, CalibrationMethod, CalibrationMethods
from edgepress.converters.options.records import Setting, check_ranges, record
from edgepress.converters.schemes import TARGETS, Target, checked_target
from edgepress.runtime.errors import InputError, unknown

SAMPLES = 200
"""Calibration items unless the user gives another number."""
CALIBRATION = Setting(
    "How ranges of integers follow from calibration items; auto tries the others on validation items",
    metavar=f"<{'|'.join(CALIBRATION_METHODS)}>",
    choices=CALIBRATION_METHODS,
    typed=str,
)
TARGET = Setting(
    "Where the files will run: cpu, or integer-only (no float operation), for microcontrollers and NPUs",
    metavar=f"<{'|'.join(TARGETS)}>",
    choices=TARGETS,
    typed=str,
)
MAX_DROP = Setting(
    "tflite-mixed, onnx-mixed: accuracy that may be lost on validation items, percentage points",
    more="Agreement with the model where there are no labels",
    min=0,
    max=100,
    show_default="0.5, or no limit with --keep-float",
)
KEEP_FLOAT = Setting(
    "tflite-mixed, onnx-mixed: layers to keep in float, such as 'conv1|head'",
    more='A regular expression that is searched for in the names of layers; "" chooses them by `max_drop`',
    show_default=False,
)


class ConversionArguments(TypedDict, total=False):
    """The arguments of functions that make `ConversionOptions`."""

    calibration: CalibrationMethod
    samples: int
    verify: bool
    target: Target
    repairs: bool
    rewrites: bool
    max_drop: float | None
    keep_float: str


@record(ConversionArguments)
@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """How files are made of a model."""

    calibration: Annotated[CalibrationMethod, CALIBRATION] = "auto"
    samples: Annotated[int, Setting("Number of training items in the calibration set", min=1)] = SAMPLES
    verify: Annotated[bool, Setting("Reject files whose answers differ too much from the model's")] = True
    target: Annotated[Target, TARGET] = TARGETS[0]
    repairs: Annotated[bool, Setting("Equalize channels and correct biases where that keeps accuracy")] = True
    rewrites: Annotated[bool, Setting("Rewrite graphs so that the engines run them faster")] = True
    max_drop: Annotated[float | None, MAX_DROP] = None
    keep_float: Annotated[str, KEEP_FLOAT] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "calibration", self.calibration.lower())  # as names of schemes, in any case
        check_ranges(self)
        checked_target(self.target)
        if self.calibration not in CALIBRATION_METHODS:
            raise unknown("calibration", self.calibration, CALIBRATION_METHODS)
        try:
            re.compile(self.keep_float)
        except re.error as e:
            raise InputError(
                f"--keep-float '{self.keep_float}' is not a valid regular expression: {e}.",
                "Give layers' names, separated by |, such as 'conv1|head'.",
            ) from e

    @property
    def is_mixing(self) -> bool:
        """Whether something is said of files of mixed precision."""
        return bool(self.keep_float) or self.max_drop is not None

    @property
    def methods(self) -> CalibrationMethods:
        """The methods of ranges if none are chosen by trials."""
        return CalibrationMethods() if self.calibration == "auto" else CalibrationMethods(self.calibration)


AS_USUAL = ConversionOptions()
"""The options of a conversion of which none is given."""
MINMAX = ConversionOptions(calibration="minmax")
"""The options with which no method of ranges is tried."""
