"""The first step of a benchmark: which files are measured on which engines, with which data and baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.contract.hints import Hints
from edgepress.converters.schemes import BASELINES, SCHEMES
from edgepress.runtime import ENGINES, Contract
from edgepress.runtime.filetypes import kind_of
from edgepress.runtime.input_record import inputs_of
from edgepress.toolkit.data.for_model import Described, data_for, describe, without_labels
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown
from edgepress.toolkit.machine.environments import usable_engines
from edgepress.toolkit.measurement.benchmarking.options import MAX_BATCH, MAX_THREADS, BenchmarkOptions
from edgepress.toolkit.results.run_files import MODEL_FILES, command_to_convert, folder_with
from edgepress.toolkit.workers.opening import Candidate

SUFFIXES = (".tflite", ".onnx")
OUTPUT_BYTES = 256 << 20
"""Approximate size of the outputs of all files without labels together. It limits the number of items that their errors
are measured on."""
LEAST_ITEMS = 8
"""Least number of these items."""
MOST_ITEMS = 1024
"""Largest number of these items."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan:
    """What a benchmark measures.

    Attributes:
        contracts: The contract of each file, in the order of the scheme table.
        broken: Files without a readable contract, and why.
        pairs: Files on engines, with one thread and batch size 1.
        baseline: The pair that the others are compared with; None if there is none.
        shapes: Numbers of threads and batch sizes to time each pair with.
        data: The data set, opened as the files take it.
        notes: What a reader must know about files and data.
        hints: What the user said of files that others made.
    """

    contracts: Mapping[Path, Contract]
    broken: Mapping[Path, EdgepressError]
    pairs: tuple[Candidate, ...]
    baseline: Candidate | None
    shapes: tuple[tuple[int, int], ...]
    data: DataSet
    notes: tuple[str, ...]
    hints: Hints | None = None


def make_plan(
    files: str | Path | Sequence[str | Path], data: str | None, options: BenchmarkOptions, hints: Hints | None = None
) -> BenchmarkPlan:
    """Decide what to measure; nothing is measured yet.

    Raises:
        EdgepressError: No file can be used, the data do not fit, or an option is wrong.
    """
    threads = counts(options.threads, "The number of threads", most=MAX_THREADS)
    batches = counts(options.batch, "The batch size", most=MAX_BATCH)
    engines = find_engines(options.engine)
    described, broken = describe_files(find_files(files), hints)
    baseline = find_baseline({p: about.contract for p, about in described.items()}, broken, options.baseline)
    possible = [(p, e) for p in described for e in usable_engines(p.suffix[1:]) if e in engines]
    measured = [(p, e) for p, e in possible if e not in lacking(described[p].contract)]
    if not measured:
        raise InputError(
            f"No engine of {', '.join(engines)} opens any of the files.", "Name other files, or engines with --engine."
        )
    left_out = [p.name for p in described if p not in {path for path, _ in measured}]
    if baseline is not None and baseline not in measured:
        measured.insert(0, baseline)
    named = (p for p, about in described.items() if not about.numbered)  # whose labels are known
    first = next(named, next(iter(described)))
    labelled = have_labels({p: about.contract for p, about in described.items()})
    opened, notes = data_for(
        described[first].contract,
        data,
        where=first,
        reading=options,
        numbered=described[first].numbered,
        purpose="evaluation" if labelled else "calibration",
    )
    if not labelled:
        room = OUTPUT_BYTES // (4 * described[first].contract.outputs * len(measured))
        opened = without_labels(opened, min(MOST_ITEMS, max(LEAST_ITEMS, room)))
    described = {p: about.labelled(opened) for p, about in described.items()}
    notes[:0] = [note for about in described.values() for note in about.notes]
    skipped = [pair for pair in possible if pair not in measured and pair[0].name not in left_out]
    notes += _notes_of_skipped([(described[path].contract, path.name, engine) for path, engine in skipped])
    if left_out:
        notes.append(f"Skipped, because no engine of {', '.join(engines)} opens them: {', '.join(left_out)}.")
    return BenchmarkPlan(
        contracts={p: about.contract for p, about in described.items()},
        broken=broken,
        pairs=tuple(Candidate(p, e, contract=described[p].contract_json) for p, e in measured),
        baseline=None if baseline is None else Candidate(*baseline, contract=described[baseline[0]].contract_json),
        shapes=tuple((t, b) for t in threads for b in batches),
        data=opened,
        notes=tuple(notes),
        hints=hints,
    )


def _notes_of_skipped(skipped: Sequence[tuple[Contract, str, str]]) -> list[str]:
    """Why files are not measured on engines that open others of their format, one note a reason.

    Args:
        skipped: The contract and the name of each file, and the engine.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for contract, name, engine in skipped:
        several = bool(inputs_of(contract.input)) and not ENGINES[engine].several_inputs
        names.setdefault((engine, "files of several inputs" if several else f"{contract.scheme} files"), []).append(
            name
        )
    return [
        f"Not measured on {engine}, which can't open {kind}: {', '.join(files)}."
        for (engine, kind), files in names.items()
    ]


def lacking(contract: Contract) -> tuple[str, ...]:
    """The engines that do not open a file, although they open others of its format."""
    scheme = SCHEMES.get(contract.scheme)
    of_one = (
        [name for name, engine in ENGINES.items() if not engine.several_inputs] if inputs_of(contract.input) else []
    )
    return (*(scheme.lacking if scheme is not None else ()), *of_one)


def have_labels(contracts: Mapping[Path, Contract]) -> bool:
    """Whether the files have labels; all or none of them, and these with outputs of one shape.

    Raises:
        InputError: They differ.
    """
    kinds = {
        "x".join(map(str, c.output_shape)) + " numbers" if c.task == "none" else "scores of labels": path.name
        for path, c in contracts.items()
    }
    if len(kinds) > 1:
        answers = "; ".join(f"{name} returns {what}" for what, name in kinds.items())
        raise InputError(f"The files can't be compared: {answers}.", "Benchmark them separately.")
    return next(iter(contracts.values())).task != "none"


def folder_of(files: Sequence[Path]) -> Path:
    """The folder of the results of files, or of one folder of them."""
    return folder_with(files[0], *MODEL_FILES) if files[0].is_dir() else files[0].parent


def find_files(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """The given files, or the `.tflite` and `.onnx` files of one given folder or of the run in it, without repeats.

    Raises:
        InputError: A path does not exist, the folder holds no such file, or nothing is given.
    """
    paths = [Path(f) for f in ([files] if isinstance(files, (str, Path)) else files)]
    if not paths:
        raise InputError("No file was given.", "Name .tflite and .onnx files, or one folder of them.")
    if len(paths) == 1 and paths[0].is_dir():
        folder = folder_with(paths[0], *MODEL_FILES)
        in_folder = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
        if not in_folder:
            raise InputError(f"{folder} holds no .tflite or .onnx file.", f"Make some: {command_to_convert(folder)}")
        return in_folder
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist.", "Check the path.")
        if path.suffix not in SUFFIXES:
            problem = f"{path} is {kind_of(path).name}. Accepted: .tflite and .onnx files."
            raise InputError(problem, "Name such files, or one folder of them.")
    return list(dict.fromkeys(paths))


def find_engines(text: str) -> list[str]:
    """Engine names from "all" or a list separated by commas; "all" are those that are timed, if there are any.

    Raises:
        InputError: A name is unknown, or the list is empty.
        MissingExtraError: An engine is not installed.
    """
    usable = usable_engines()
    names = [w for w in (word.strip() for word in text.split(",")) if w]
    if "all" in names:
        return [name for name in usable if ENGINES[name].timed] or usable
    for name in names:
        if name not in ENGINES:
            raise unknown("engine", name, ("all", *ENGINES))
        if ENGINES[name].built:
            problem = f"{name} is compiled on the board for one model, so it can't be benchmarked here."
            raise InputError(problem, "Time it there, in the installed bundle: current/run bench")
        if name not in usable:
            raise MissingExtraError(f"The engine {name}", ENGINES[name].package, ENGINES[name].extra)
    if not names:
        raise InputError("No engine was given.", f"Accepted: all, or a list of {', '.join(ENGINES)}.")
    return names


def describe_files(
    paths: Sequence[Path], hints: Hints | None
) -> tuple[dict[Path, Described], dict[Path, EdgepressError]]:
    """The files' contracts in the order of the scheme table, and the errors of files of which too little is known.

    Args:
        paths: The files.
        hints: What the user knows of those without a contract.

    Raises:
        ModelFileError: No file has a contract, or gets one.
        InputError: A hint does not fit a file, or there is no file without a contract that it could be about.
    """
    described: dict[Path, Described] = {}
    broken: dict[Path, EdgepressError] = {}
    for path in paths:
        try:
            described[path] = describe(path, hints, alone=len(paths) == 1)
        except ModelFileError as e:
            broken[path] = e
    if not described:
        raise next(iter(broken.values()))
    if hints is not None and hints.describes and not any(about.published for about in described.values()):
        raise InputError(
            "All files have contracts, so options that describe models made elsewhere do not apply.",
            "Leave them out, or change a file's contract: edgepress annotate.",
        )
    order = {name: n for n, name in enumerate(SCHEMES)}
    return dict(sorted(described.items(), key=lambda item: order.get(item[1].contract.scheme, len(order)))), broken


def find_baseline(
    contracts: Mapping[Path, Contract], broken: Mapping[Path, EdgepressError], baseline: str | None
) -> tuple[Path, str] | None:
    """What the others are compared with: a file or scheme by name, and the first engine that opens it.

    If none is named: the first float32 file, TFLite before ONNX.

    Raises:
        InputError: The named baseline is not among the files.
        EdgepressError: The named file cannot be used.
    """
    for path, error in broken.items():
        if baseline is not None and (baseline == path.name or Path(baseline) == path):
            raise error
    for path, contract in contracts.items():
        if baseline is None and contract.scheme not in BASELINES:
            continue
        if baseline is not None and baseline not in (contract.scheme, path.name) and Path(baseline) != path:
            continue
        if engines := [e for e in usable_engines(path.suffix[1:]) if e not in lacking(contract)]:
            return path, engines[0]
    if baseline is not None:
        raise unknown("baseline", baseline, [p.name for p in contracts])
    return None


def counts(value: int | Sequence[int], name: str, *, most: int) -> tuple[int, ...]:
    """One or more distinct whole numbers, each from 1 to `most`.

    Raises:
        InputError: They are not.
    """
    numbers = (value,) if isinstance(value, int) else tuple(value)
    if not numbers or len(set(numbers)) < len(numbers) or not all(1 <= n <= most for n in numbers):
        listed = ", ".join(map(str, numbers)) or "empty"
        raise InputError(f"{name} is {listed}.", f"Accepted: different numbers from 1 to {most}.")
    return numbers
