"""Which float graph a file was made of, and what it makes of that graph's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.conversion.float_graph import FloatGraph, get_open_model, make_float_graph
from edgepress.converters.diagnosis.damage import other_weights
from edgepress.converters.diagnosis.files import OnnxFile, TFLiteFile
from edgepress.converters.diagnosis.job import ExamineJob
from edgepress.converters.diagnosis.matched import Matched
from edgepress.converters.diagnosis.matching import match_by_name, match_by_reference, match_by_value
from edgepress.converters.diagnosis.refit import refit_factors
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import UnknownOperationError
from edgepress.converters.rewrites.table import Rewrite, rewrites_for, rewritten_onnx, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, RepairKind
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.quantize import prepare_model
from edgepress.runtime.errors import InputError

FEW = 4
"""Number of items on which tensors are matched."""
MATCHED = 0.5
"""Share of the tensors of a graph, or of its weights, that a file must have for its names to be used.

A small net may keep its weights and few of its tensors: quantizers leave activations out, and rewrites rename ends.
"""
OTHER = 0.02
"""Share of the weights, as a mean over layers, that must differ for a file to be of another graph."""


def compare_graphs(job: ExamineJob) -> tuple[Program, Matched, tuple[str, ...], bytes]:
    """The float graph as a program, what the file makes of it, notes, and the float graph.

    Raises:
        InputError: The file is not quantized, or has too little in common with the model.
    """
    graph = get_open_model().tflite(job.adapter)
    file = _open_file(job)
    program, held, note = _align(job, file, graph)
    notes = [note] if note else []
    if 2 * len(others := _layers_with_other_weights(program, held)) > len([*program.weighted()]):
        program = _program(program.with_constants(held.constants))
        held = replace(held, constants={})  # only values remain to be rounded
        notes.append(
            f"the weights of {_layers(len(others))} are neither the model's nor those that repairs with these data "
            "give: what rounding weights costs is not known, and ranges are compared with the values that the file's "
            "own weights give"
        )
    if not held.roundings and not held.constants and not notes:
        raise InputError(
            f"{job.file} is not quantized: its weights and values are those of the float model.",
            "Give a quantized variant; edgepress compare shows how any two files differ.",
        )
    matched = sum(step.output in held.tensors or step.output in held.roundings for step in program.steps)
    if not matched and not held.constants:
        raise InputError(
            f"No tensor of {job.file} could be matched with one of the model.",
            "Give the model that it was converted from, with the options that it was converted with.",
        )
    if held.unknown:
        some = ", ".join(held.unknown[:3]) + (", ..." if len(held.unknown) > 3 else "")
        notes.append(f"the weights of {_layers(len(held.unknown))} were not found in the file: {some}")
    return program, held, tuple(notes), graph


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _align(job: ExamineJob, file: TFLiteFile | OnnxFile, graph: bytes) -> tuple[Program, Matched, str]:
    """The file in the float graph that it was made of, the model's or one that repairs changed, and a note on it.

    It is the one from whose weights fewest of the file's differ, not one from which none does: a file may be damaged.
    """
    best = _match(job, file, graph, "")
    note = ""
    plain = best
    if job.float_graph is None:
        return *best, note
    reports: list[FloatGraph] = []
    make_float_graph(job.float_graph, reports.append)
    kind = SCHEMES[job.contract.scheme].repairs
    if reports and kind in reports[-1].repaired:
        repaired = _match(job, file, reports[-1].graph(kind), kind)
        best = min((repaired, best), key=lambda pair: _other_weights(*pair))
    if _other_weights(*best) > OTHER and (changed := refit_factors(*plain)) is not None:
        refit = _match(job, file, changed, kind, again=True)
        if _other_weights(*refit) < _other_weights(*best) / 2:
            best = refit
            note = (
                "the file was repaired with other data or options: the factors of channels were read from its weights"
            )
    return *best, note


def _other_weights(program: Program, held: Matched) -> float:
    """Mean over the layers of the share of their weights that are not those of a graph, rounded, 0-1."""
    shares = [1.0 if step.output in held.unknown else other_weights(step, held) for step in program.weighted()]
    return sum(shares) / max(len(shares), 1)


def _open_file(job: ExamineJob) -> TFLiteFile | OnnxFile:
    if job.file.suffix == ".tflite":
        return TFLiteFile(job.file.read_bytes())
    import onnx

    return OnnxFile(onnx.load(str(job.file)))


def _rewrites(job: ExamineJob) -> tuple[Rewrite, ...]:
    scheme = SCHEMES.get(job.contract.scheme)
    target = job.contract.target
    rows = rewrites_for(scheme, target, "float") if scheme is not None else ()  # type: ignore[arg-type]
    return tuple(row for row in rows if row.name in job.contract.rewrites)


def _match(
    job: ExamineJob, file: TFLiteFile | OnnxFile, graph: bytes, kind: RepairKind, *, again: bool = False
) -> tuple[Program, Matched]:
    """The float graph as a program and the file's tensors in it.

    Args:
        job: The job.
        file: The file.
        graph: The float graph, tuned by `tuning`.
        kind: How it is tuned.
        again: Whether it comes from a program that this function made, whose graph has been rewritten.
    """
    few = job.layer_items[:FEW]
    if isinstance(file, TFLiteFile):
        program = _program(graph if again else rewritten_tflite(graph, _rewrites(job))[0])
        if _share(program, file.names) >= MATCHED:
            return program, match_by_name(program, file)
        return program, match_by_value(program, file, _values(program, few), file.values(few, file.names))
    program = _program(graph)
    graph_values = _values(program, few)
    for reference in _references(job, graph, kind):
        if is_made_of(file, reference):
            reference_values = reference.values(few, reference.names)
            return program, match_by_reference(
                program, file, reference, graph_values=graph_values, reference_values=reference_values
            )
    return program, match_by_value(program, file, graph_values, file.values(few, file.names))


def is_made_of(file: OnnxFile, reference: OnnxFile) -> bool:
    """Whether a file has the names of a float file: of its tensors, or of its weights."""
    shared = len({*reference.names} & {*file.names}) / max(len(reference.names), 1)
    return max(shared, file.share_of_weights(reference)) >= MATCHED


def _references(job: ExamineJob, graph: bytes, kind: RepairKind) -> Iterator[OnnxFile]:
    """The float ONNX models that the file may be made of, before quantization."""
    bare = InputAdapter(job.adapter.item, job.adapter.item.shape)  # the graph contains the adapter
    makers: list[Callable[[], Any]] = [partial(get_open_model().onnx, job.adapter)] if not kind else []
    makers.append(lambda: interface.prepend_adapter(float_onnx_of(graph), bare))
    for make in makers:
        try:
            yield OnnxFile(prepare_model(rewritten_onnx(make(), _rewrites(job))[0]))
        except ConversionError:
            continue


def _program(graph: bytes) -> Program:
    try:
        return Program(graph)
    except UnknownOperationError as e:
        raise InputError(
            f"The layers of this model can't be measured one by one: {e}.",
            "edgepress compare shows what the file loses by class.",
        ) from e


def _values(program: Program, items: Array) -> dict[str, Array]:
    rows = [program.run(item[np.newaxis].astype(program.dtype)) for item in items]
    return {n: np.concatenate([np.asarray(r[n]) for r in rows]) for n in rows[0] if len(rows[0][n].shape)}


def _share(program: Program, names: Sequence[str] | Any) -> float:
    known = [step.output for step in program.steps]
    held = {*names}
    return sum(name in held for name in known) / max(len(known), 1)


def _layers_with_other_weights(program: Program, held: Matched) -> list[str]:
    """Names of the layers of which most weights are not those of the graph, rounded, or not known."""
    return [
        step.output for step in program.weighted() if step.output in held.unknown or other_weights(step, held) > 1 / 2
    ]
