"""Which operation of a file engines compute differently first, why, where that is known, and the result as a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.toolkit.data.for_model import describe
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.diagnosis.engines.outputs import (
    PREFIX,
    Outputs,
    expose_outputs,
    outputs_of_program,
    outputs_on,
    outputs_on_board,
)
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.results.run_files import check_integers
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession, make_vectors

ENGINES = ("litert", "litert-built-in", "tflite-micro", "c99")
"""What `--engines` accepts: LiteRT as every command runs it, LiteRT without XNNPACK, TFLM, and the exact model of the
exported C in NumPy."""
UNKNOWN = "not known"
_TFLM = frozenset({"tflite-micro", "c99"})
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


class DifferenceCause(NamedTuple):
    """A known cause of differences of one step.

    Attributes:
        one: Engines on one side.
        other: Engines on the other side.
        operations: Operations in which it shows.
        text: The cause, a clause.
    """

    one: frozenset[str]
    other: frozenset[str]
    operations: frozenset[str]
    text: str


CAUSES = (
    DifferenceCause(
        frozenset({"litert"}),
        _TFLM | {"litert-built-in"},
        _PRODUCTS | {"ADD", "SUB", "MUL", "MEAN", "AVERAGE_POOL_2D", "QUANTIZE", "LOGISTIC", "SOFTMAX"},
        "XNNPACK rounds a result once, the others round it twice",
    ),
    DifferenceCause(
        frozenset({"litert-built-in"}),
        _TFLM,
        frozenset({"CONV_2D", "FULLY_CONNECTED"}),
        "the second rounding breaks ties of negative values upwards in LiteRT, away from zero in TFLM",
    ),
)


def cause_of(kind: str, engines: tuple[str, str], steps: int) -> str:
    """Why two engines differ in an operation by a number of steps; `UNKNOWN` if nobody has found out."""
    if {*engines} == {*_TFLM}:
        return "none may exist: the C answers what this version of TFLM answers; report it, with the file"
    for cause in CAUSES:
        sides = (engines[0] in cause.one and engines[1] in cause.other) or (
            engines[1] in cause.one and engines[0] in cause.other
        )
        if steps == 1 and sides and kind in cause.operations:
            return cause.text
    return UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first operation that two engines compute differently, in the order of the file.

    Attributes:
        operation: Its place in the file, from 0.
        kind: Its name in the schema, such as "CONV_2D".
        tensor: The name of its output in the file, which may be anything.
        steps: The largest difference of two stored numbers.
        items: Number of items on which it shows.
        values: Share of the numbers of its output that differ, 0-1, over all items.
        why: The cause, where it is known.
    """

    operation: int
    kind: str
    tensor: str
    steps: int
    items: int
    values: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two engines.

    Attributes:
        engines: Their names.
        first: The first operation that they compute differently; None if there is none.
        answers: Number of items whose answers, the outputs of the file, differ.
        answer_steps: The largest difference of two numbers of an answer.
    """

    engines: tuple[str, str]
    first: Difference | None
    answers: int
    answer_steps: int


@dataclass(frozen=True, kw_only=True)
class EngineComparison:
    """What different engines make of one file.

    Attributes:
        file: The file.
        source: Where the items are from: data, or "random".
        items: Number of items.
        operations: Number of operations.
        pairs: The first engine with each of the others.
        notes: What a reader must know of file and data.
    """

    file: str
    source: str
    items: int
    operations: int
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document that `diagnose --engines --json` prints."""
        return {"schema_version": 1, **dataclasses.asdict(self)}


SAMPLES = 64
"""Items on which operations are compared, unless the user sets it."""
MOST = 10_000
"""Most items that are compared."""


def diagnose_engines(
    file: str | Path,
    engines: Sequence[str],
    *,
    data: Data | None = None,
    samples: int = SAMPLES,
    hints: Hints | None = None,
    ssh_config: Path | None = None,
    on_step: Callable[[str], None] | None = None,
    **reading: Unpack[ReadingArguments],
) -> EngineComparison:
    """Say which operation of an integer-only file different engines compute differently, and why where it is known.

    The first engine is compared with each of the others, operation by operation in the order of the file: all of them
    before the one that is named return the same numbers on every item.

    Args:
        file: A `.tflite` file that `export` takes.
        engines: Two or more of "litert", "litert-built-in" (without XNNPACK), "tflite-micro", "c99" (the exact model
            of the exported C), and "board:HOST", what LiteRT or tflite-runtime answers on a board that ssh reaches.
        data: Data whose test items are used; None: random items.
        samples: Number of items, 1 to 10000.
        hints: What you know of a file that edgepress did not make.
        ssh_config: Configuration of ssh instead of the user's.
        on_step: Called with a sentence when a step begins.

    Raises:
        ModelFileError: The file is damaged, or holds what `export` does not take.
        EdgepressError: An engine is unknown, not installed or does not run the file, or an argument can't be used.
        BoardError: A board can't be reached, or has no engine.

    Example:
        >>> from edgepress.toolkit import convert, diagnose_engines
        >>> made = convert("edgepress-demo/model.keras", "tflite-int8", target="integer-only", out="micro")
        >>> diagnose_engines(made[0].path, ["c99", "c99"]).pairs[0].first is None
        True
    """
    data = source_of(data)
    path = Path(file)
    step = on_step or (lambda text: None)
    _check(path, engines, samples)
    step("Reading the file")
    program = lower(path)
    about = None if data is None else describe(path, hints)
    session = ProgramSession(path, program, about.contract if about else None)
    vectors, notes = make_vectors(session, about, data=data, samples=samples, reading=Reading(**reading))
    tensors = tuple(operation.output.index for operation in program.graph.operations)
    outputs: dict[str, list[Outputs]] = {}
    engine_by_name = {name: name for name in engines}
    with ScratchFolder() as folder:
        copy = Path(folder) / path.name
        expose_outputs(path, tensors, copy)
        for engine in dict.fromkeys(engines):
            step(f"Running every operation on {engine}")
            if engine == "c99":
                outputs[engine] = outputs_of_program(program, vectors.inputs)
            elif engine.startswith(PREFIX):
                host = engine.removeprefix(PREFIX)
                ends = [operation.output for operation in program.graph.operations]
                answer = outputs_on_board(host, copy, vectors.inputs, ends, config=ssh_config)
                outputs[engine] = answer.outputs
                engine_by_name[engine] = answer.engine
                notes.append(f"{engine}: {answer.about}.")
            else:
                outputs[engine] = outputs_on(engine, copy, vectors.inputs, tensors)
    pairs = tuple(_compare(program, (engines[0], other), outputs, engine_by_name) for other in engines[1:])
    return EngineComparison(
        file=str(path),
        source=vectors.source,
        items=len(vectors.inputs),
        operations=len(tensors),
        pairs=pairs,
        notes=tuple(notes),
    )


def _check(path: Path, engines: Sequence[str], samples: int) -> None:
    for name in engines:
        if name not in ENGINES and not name.startswith(PREFIX):
            raise unknown("engine to compare", name, (*ENGINES, f"{PREFIX}HOST"))
    if len(engines) < 2:
        raise InputError("--engines compares two engines or more.", f"Accepted: {', '.join(ENGINES)}, {PREFIX}HOST.")
    if not 1 <= samples <= MOST:
        raise InputError(f"samples is {samples}; accepted: 1 to {MOST}.")
    check_integers(path)


def _compare(
    program: Program, engines: tuple[str, str], outputs: dict[str, list[Outputs]], engine_by_name: dict[str, str]
) -> Pair:
    """Two engines, operation by operation; `engine_by_name` says which one ran on a board."""
    one = outputs[engines[0]]
    other = outputs[engines[1]]
    first = None
    for operation in program.graph.operations:
        index = operation.output.index
        apart = np.stack([_distance(a[index], b[index]) for a, b in zip(one, other, strict=True)])
        if apart.any():
            steps = int(np.max(apart))
            first = Difference(
                operation=operation.index,
                kind=operation.kind,
                tensor=operation.output.name,
                steps=steps,
                items=int(apart.any(axis=1).sum()),
                values=float((apart > 0).mean()),
                why=cause_of(operation.kind, (engine_by_name[engines[0]], engine_by_name[engines[1]]), steps),
            )
            break
    last = program.output.index
    answers = np.stack([_distance(a[last], b[last]) for a, b in zip(one, other, strict=True)])
    return Pair(engines=engines, first=first, answers=int(answers.any(axis=1).sum()), answer_steps=int(np.max(answers)))


def _distance(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Steps between stored numbers."""
    steps: npt.NDArray[np.int64] = np.abs(one.astype(np.int64) - other.astype(np.int64))
    return steps
