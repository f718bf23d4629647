"""Tune a classifier for quantization: `tune`, which the command of the same name calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack, get_args

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data.objects import Data, Model, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.training.graphs.job import Bits, TuneJob
from edgepress.toolkit.training.graphs.run import GraphResult, Run, carry_out
from edgepress.toolkit.training.graphs.tune_trainer import RANGES, START, tune_here

REPORT = "tuning.json"


def tune(
    model: Model,
    data: Data | None = None,
    *,
    bits: int = 8,
    minutes: float = 10.0,
    steps: int | None = None,
    out: str | Path | None = None,
    hints: Hints | None = None,
    augmentation: str = "auto",
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
    **reading: Unpack[ReadingArguments],
) -> GraphResult:
    """Quantization-aware training of a model's constants and ranges.

    The model may be of any format; the result is a float `.tflite` that `convert` makes every scheme of. If nothing is
    better than what `convert` makes without, on validation items, the result is that.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        data: Data like those it was trained on; None opens those that the model's contract names. Labels are used
            where there are some.
        bits: Bits of the weights, 8 or 4.
        minutes: Time for training; preparing takes a minute more.
        steps: Largest number of steps instead of a time, so that the result does not depend on the machine's speed.
        out: Folder for the result; None: `tuned` next to the model.
        hints: What you know of a model that edgepress did not train.
        augmentation: Augmentation of the training items, as for `train`.
        seed: Seed of their order and augmentation.
        resume: Resume the run that `out` holds; an empty folder starts one.
        overwrite: Replace a run that `out` holds.
        on_note: Called with each guess about the model.
        on_progress: Called with the share of the training that is done, 0-1, and a line of figures.

    Returns:
        The tuned float `.tflite`, with its contract inside, and figures: "kept" is "distillation", or "start" if
        nothing was better than the repaired graph; "before" and "after" are those of the quantized file on validation
        items: "accuracy" and "agreement" with the float model, 0-1, and "snr_db"; "steps" and "bits".

    Raises:
        EdgepressError: The model, the data or an option can't be used, or `out` holds another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import tune
        >>> tune("edgepress-demo/model.keras", bits=4, minutes=1).model.name
        'model-tuned.tflite'
    """
    data = source_of(data)
    if bits not in get_args(Bits):
        raise InputError(f"bits is {bits}; accepted: 8 or 4.")
    run = call_with(Run, locals(), reading=Reading(**reading), verb="tuned", report=REPORT, scratch=(START, RANGES))
    return carry_out(model_in(model), run, tune_here, TuneJob, own={"bits": bits}, identity={"bits": bits})
