"""Prune a model: `prune`, which the command of the same name calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from edgepress.converters.contract.hints import Hints
from edgepress.converters.pruning.importance import MEASURES
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.pruning.job import PruneJob
from edgepress.toolkit.pruning.targets import Targets
from edgepress.toolkit.pruning.work import GRAPH, PLAN, prune_here
from edgepress.toolkit.tuning.setup import GraphResult, Run, carried_out

REPORT = "pruning.json"


def prune(
    model: str | Path,
    data: str | None = None,
    *,
    macs: float | None = None,
    size_bytes: int | None = None,
    latency_ms: float | None = None,
    minutes: float = 10.0,
    steps: int | None = None,
    out: str | Path | None = None,
    hints: Hints | None = None,
    augmentation: str = "auto",
    seed: int = 0,
    importance: str = "auto",
    skip_unreadable: bool = False,
    install: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> GraphResult:
    """Remove whole channels of a model until it is as small as asked, and train what is left to answer as it did.

    The model may be of any format; the result is a float `.tflite` that `convert` makes every scheme of. All targets
    that are given are kept.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, or a SavedModel folder.
        data: Data like those it was trained on; None opens those that the model's contract names. Labels are used
            where there are some.
        macs: Share of the multiply-accumulates that may be left, 0-1.
        size_bytes: Largest size of the int8 TFLite file that `convert` makes of the result.
        latency_ms: Longest time of one answer of that file, measured on this machine with LiteRT and one thread.
        minutes: Time for training; preparing takes a minute or two more.
        steps: Largest number of steps instead of a time, so that the result does not depend on the machine's speed.
        out: Folder for the result; None: `pruned` next to the model.
        hints: What you know of a model that edgepress did not train.
        augmentation: Augmentation of the training items, as for `train`.
        seed: Seed of their order and augmentation.
        importance: What ranks channels: "l1", "taylor", "variance" or "auto" (docs/prune.md).
        skip_unreadable: Leave out images that can't be read instead of failing.
        install: Whether onnx2tf, which makes TFLite files of ONNX models, may be installed when it is first needed.
        resume: Resume the run that `out` holds; an empty folder starts one.
        overwrite: Replace a run that `out` holds.
        on_note: Called with each guess about the model.
        on_progress: Called with the share of the training that is done, 0-1, and a line of figures.

    Returns:
        The pruned float `.tflite`, with its contract inside, and figures: "before" and "after" hold "macs" (for one
        item), "parameters", "size_bytes" (of the int8 file), and those of the float graph on validation items, as far
        as they can be given: "accuracy" and "agreement" with the model, 0-1, "noise_db"; "latency_ms" if that is a
        target. "layers" are the output channels before and after by layer, "importance" is the measure that was used.

    Raises:
        EdgepressError: The model, the data or an option can't be used, the targets can't be reached, or `out` holds
            another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import prune
        >>> prune("edgepress-demo/model.keras", macs=0.5, minutes=1).model.name
        'model-pruned.tflite'
    """
    targets = Targets(macs, size_bytes, latency_ms)
    if importance not in ("auto", *MEASURES):
        raise InputError(f"importance is {importance!r}; accepted: auto, {', '.join(MEASURES)}.")
    run = Run(
        verb="pruned",
        report=REPORT,
        scratch=(PLAN, GRAPH.format("*")),
        data=data,
        out=out,
        hints=hints,
        augmentation=augmentation,
        minutes=minutes,
        steps=steps,
        seed=seed,
        skip_unreadable=skip_unreadable,
        install=install,
        resume=resume,
        overwrite=overwrite,
        on_note=on_note,
        on_progress=on_progress,
    )
    own = {"targets": targets, "importance": importance}
    identity = {"importance": importance, **dataclasses.asdict(targets)}
    return carried_out(Path(model), run, prune_here, PruneJob, own, identity)
