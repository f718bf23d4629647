"""One Keras model in, a file for every scheme out.

The expensive steps are shared and made when first needed: one float TFLite conversion, one float ONNX conversion, one
calibration pass each. A scheme that fails is reported and does not stop the others. A file gets its contract last, is
opened and answers once before it gets its real name, so that what is there can be loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np

from edgepress.converters import to_onnx, to_tflite
from edgepress.converters.contract_file import onnx_with_contract, tflite_with_contract
from edgepress.converters.files import whole_file
from edgepress.converters.keras_file import load_keras, sha256_of
from edgepress.converters.ranges import Batches, Ranges, tflite_ranges
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.tflite_graph import ConversionError
from edgepress.runtime import load
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import EdgepressError, ModelFileError, unknown

if TYPE_CHECKING:
    import keras
    import onnx

T = TypeVar("T")

TOOLS = ("edgepress", "tensorflow", "keras", "litert-quantizer", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Variant:
    """One converted file, or why there is none.

    Attributes:
        scheme: Name in the scheme table.
        path: The file; None if the scheme failed.
        size_bytes: Its size, contract included.
        seconds: Time that it took, shared steps counted where they were first needed.
        error: Why there is no file; empty if there is one.
        hint: What to do about `error`.
    """

    scheme: str
    path: Path | None
    size_bytes: int | None
    seconds: float
    error: str = ""
    hint: str = ""

    @property
    def status(self) -> Literal["ok", "failed"]:
        """Whether there is a file."""
        return "failed" if self.path is None else "ok"


def convert(
    model_path: str | Path,
    schemes: Sequence[str],
    *,
    contract: Contract,
    calibration: Batches,
    out: str | Path,
    stem: str = "model",
    on_start: Callable[[str], None] | None = None,
    on_done: Callable[[Variant], None] | None = None,
) -> list[Variant]:
    """Convert a Keras model to files that a board runs.

    Args:
        model_path: A `.keras` file: one input of raw values, one output of probabilities.
        schemes: Names in the scheme table (`parse_schemes` reads them from text).
        contract: What the files shall say of themselves; scheme, parent and tools are filled in here.
        calibration: Gives the calibration items anew at each call, as batches (n, *item shape). Called only for schemes
            that need it.
        out: Folder for the files; made if missing.
        stem: Beginning of the file names: `{stem}-{precision}.{format}`.
        on_start: Called with each scheme's name before work on it begins.
        on_done: Called with each variant, made or failed.

    Returns:
        One variant for each scheme, in the order given.

    Raises:
        InputError: A scheme is unknown, or the folder can't be written.
        ModelFileError: The model can't be opened, or contradicts the contract.
    """
    for name in schemes:
        if name not in SCHEMES:
            raise unknown("scheme", name, SCHEMES)
    out = Path(out)
    work = _Work(Path(model_path), contract, calibration)
    variants = []
    for scheme in (SCHEMES[name] for name in schemes):
        if on_start:
            on_start(scheme.name)
        start = time.perf_counter()
        target = out / f"{stem}-{scheme.precision}.{scheme.format}"
        try:
            work.make(scheme, target)
            size, error, hint, path = target.stat().st_size, "", "", target
        except EdgepressError as e:
            if not isinstance(e, ConversionError):
                raise
            path, size, error, hint = None, None, e.message, e.hint
        variant = Variant(scheme.name, path, size, time.perf_counter() - start, error, hint)
        variants.append(variant)
        if on_done:
            on_done(variant)
    return variants


class _Work:
    """The steps that several schemes share, each made once, when it is first needed."""

    def __init__(self, path: Path, contract: Contract, calibration: Batches) -> None:
        self.model: keras.Model = load_keras(path)
        self._results: dict[str, Any] = {}
        self.calibration = calibration
        self.input = contract.input
        tools = {name: metadata.version(name) for name in TOOLS}
        self.contract = contract.replace(parent_sha256=sha256_of(path), tools=tools)
        if self.model.input_shape[1:] != self.input.shape or self.model.output_shape[1] != contract.outputs:
            raise ModelFileError(
                f"{path} takes {self.model.input_shape[1:]} and gives {self.model.output_shape[1]} outputs; its "
                f"contract says {self.input.shape} and {contract.outputs}.",
                "Train it again, or give the labels and the input that it was made for.",
            )

    @property
    def uint8(self) -> bool:
        return self.input.dtype == "uint8"

    def once(self, step: Callable[[], T]) -> T:
        """The step's result, or its error, made at the first call and kept: a second try would fail as slowly."""
        if step.__name__ not in self._results:
            try:
                self._results[step.__name__] = step()
            except ConversionError as e:
                self._results[step.__name__] = e
        result = self._results[step.__name__]
        if isinstance(result, ConversionError):
            raise result
        return cast(T, result)

    def tflite(self) -> bytes:
        return to_tflite.float_tflite(self.model)

    def onnx(self) -> onnx.ModelProto:
        return to_onnx.float_onnx(self.model, uint8=self.uint8)

    def ranges(self) -> Ranges:
        return tflite_ranges(self.once(self.tflite), self.calibration, self.input.value_range)

    def make(self, scheme: Scheme, target: Path) -> None:
        """Write one file, whole, and only if it opens and answers."""
        contract = self.contract.replace(scheme=scheme.name)
        if scheme.format == "tflite":
            ranges = self.once(self.ranges) if scheme.calibrated else None
            flat = to_tflite.with_precision(self.once(self.tflite), scheme.precision, ranges, uint8=self.uint8)
            content = tflite_with_contract(flat, contract)
        else:
            graph = to_onnx.with_precision(
                self.once(self.onnx), scheme.precision, self.calibration, self.input.value_range
            )
            content = onnx_with_contract(graph, contract).SerializeToString()
        with whole_file(target) as temporary:
            temporary.write_bytes(content)
            try:
                scores = load(temporary).scores(np.zeros((1, *self.input.shape), self.input.dtype))
            except (EdgepressError, RuntimeError) as e:
                raise ConversionError(
                    f"The file does not run: {str(e).replace(temporary.name, target.name)}", "Try another scheme."
                ) from e
            if not np.isfinite(scores).all():
                raise ConversionError("The file answers NaN or infinity.", "Try a scheme with more bits.")
