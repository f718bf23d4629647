"""Limits in, the best file out: `compress`, which the command of the same name calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.files import write_bytes, write_json
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES
from edgepress.runtime.contract import Contract
from edgepress.toolkit.conversion.plan import plan_for
from edgepress.toolkit.data.for_model import data_for, data_record
from edgepress.toolkit.data.objects import Data, Model, source_of
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.machine.environments import usable_engines
from edgepress.toolkit.measurement.benchmarking.plan import find_engines
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import compress_html
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.search.compression.builder import Builder
from edgepress.toolkit.search.compression.measure import Measurer
from edgepress.toolkit.search.compression.options import CompressArguments, CompressOptions
from edgepress.toolkit.search.compression.report import (
    PICTURE,
    REPORT,
    misses,
    plot_search,
    set_aside,
    why_best,
    why_float,
    why_none,
)
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.compression.step_cache import StepCache, Subject
from edgepress.toolkit.search.compression.strategies import STRATEGIES, search
from edgepress.toolkit.search.compression.trial import KINDS, Limits, Trial
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.shipping.boards.bench import board_info
from edgepress.toolkit.shipping.boards.ssh import checked_host
from edgepress.toolkit.text import short_repr
from edgepress.toolkit.training.run_folder import only_run

WORK = "work"
"""The folder of what was made on the way."""
FOOTPRINT = "RAM and flash of the exported C are computed; latency is that of this file on the CPU above"
"""What the answer says of these."""
EVERY = 1 << 30
"""More items than any data have."""


@dataclass(frozen=True)
class CompressResult(Printed):
    """The result of a search.

    Attributes:
        model: The best file; None if no file keeps all limits.
        met: Whether it keeps all limits; its drop on test items may still be beyond the limit (`document["why"]`).
        document: The content of `compress.json`.
    """

    model: Path | None
    met: bool
    document: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """The JSON document of `compress --json`."""
        return self.document

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return compress_html(self.document)


def compress(
    model: Model,
    data: Data | None = None,
    *,
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
    on_step: Callable[[str], None] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    **compressing: Unpack[CompressArguments],
) -> CompressResult:
    """Find the cheapest way to make a file that meets your limits.

    Strategies are tried, the cheapest first, until a file keeps all limits. Files are judged on the validation split;
    test items are used once, for the final figure of the best file. The result of other limits that `out` holds moves
    to a folder of its limits in `out/earlier`. Each step is kept in `out/work` when it is done, so that a run that was
    stopped goes on where it was, and one with other limits repeats nothing.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        data: Data with labels like those it was trained on; None opens those that the model's contract names.
        hints: What you know of a model that edgepress did not train.
        on_note: Called with each guess about the model, and where an earlier result is kept.
        on_step: Called with each step that begins, in words.
        on_trial: Called with each file that was tried, with its figures.

    Raises:
        EdgepressError: The model, the data, the board or an option can't be used, or no file can keep the limits.

    Example:
        >>> from edgepress.toolkit import compress
        >>> compress("edgepress-demo/model.keras", max_drop=2, max_size="90kB").model.name
        'model-int8.tflite'
    """
    data = source_of(data)
    path = model_in(model)
    note = on_note or (lambda text: None)
    step = on_step or (lambda text: None)
    options = CompressOptions(**compressing)
    limits, rule = options.limits, options.rule
    format, engine = _engine(options.format, options.engine, limits)
    hints = hints or Hints()
    if options.board is not None:
        step(f"looking at {checked_host(options.board)}")
        # first: a board that can't be reached ends it here
        board_info(options.board, python=options.python, ssh_config=options.ssh_config)
    contract, opened = _open(path, data, hints, note, reading=options)
    _possible(limits, contract, path)
    folder = path.parent / "compressed" if options.out is None else Path(options.out)
    subject = Subject(
        model=path,
        data=data,
        hints=hints,
        opened=opened,
        format=format,
        engine=engine,
        arch=contract.arch,
        options=options,
    )
    with only_run(folder):
        cache = StepCache(subject, Store(folder / WORK), step)
        tell = on_trial or (lambda trial: None)
        state = StrategySearch(Builder(cache), Measurer(cache), limits, rule, minutes=options.minutes, on_trial=tell)
        try:
            search(state)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. The same command goes on where it was.") from None
        return _write_result(state, folder, note)


def _engine(format: str | None, engine: str | None, limits: Limits) -> tuple[str, str]:
    """The format of the files and the engine that runs them.

    Raises:
        EdgepressError: One of them is unknown, the engine is not installed, it does not open the format, or files of
            the format can't keep a limit.
    """
    formats = list(dict.fromkeys(scheme.format for scheme in SCHEMES.values()))
    if format is not None and format not in formats:
        raise unknown("format", format, formats)
    if limits.exported:
        if format not in (None, "tflite"):
            raise InputError(
                f"--max-ram and --max-flash are for TFLite files; the format is {format}.", "Omit --format."
            )
        format = "tflite"
    if engine is None:
        format = format or formats[0]
        usable = [name for name in usable_engines(format) if ENGINES[name].timed]
        if not usable:
            raise InputError(f"No engine that opens .{format} files is installed.", "edgepress doctor shows what is.")
        return format, usable[0]
    (engine,) = find_engines(engine) if engine in ENGINES else find_engines(f"{engine},")
    if not ENGINES[engine].timed:
        hint = "Omit --engine; edgepress evaluate FILE --engine tells the accuracy of the result there."
        raise InputError(f"compress measures latency, and that of {engine} says nothing.", hint)
    if format is not None and format not in ENGINES[engine].formats:
        accepted = " and ".join(ENGINES[engine].formats)
        why = ", which --max-ram and --max-flash are for" if limits.exported else ""
        problem = f"{engine} does not open .{format} files{why}; it opens {accepted}."
        raise InputError(problem, "Omit --engine." if limits.exported else "Omit --engine or --format.")
    return format or ENGINES[engine].formats[0], engine


def _open(
    path: Path, data: str | None, hints: Hints, note: Callable[[str], None], *, reading: Reading
) -> tuple[Contract, DataSet]:
    """What the files will say of the model, and the data as they take them."""
    with Conversion(path, hints=hints) as conversion:
        plan = plan_for(path, conversion.facts, hints, data=data, count=EVERY, reading=reading)
        notes = (*conversion.facts.notes, *plan.notes)
    opened, more = data_for(plan.contract, data, where=path, reading=reading)
    for text in dict.fromkeys((*notes, *more)):
        note(text)
    for name, purpose in (("val", "choosing a file"), ("test", "the final figure")):
        if not len(getattr(opened, name)):
            raise InputError(f"{opened.source} has no {name} items, which {purpose} needs.", "Give such with --data.")
    return plan.contract, opened


def _possible(limits: Limits, contract: Contract, path: Path) -> None:
    """Check that limits are not below what any file can reach.

    Raises:
        InputError: The file's contract alone is larger, no call is as fast, or an item alone takes more memory.
    """
    least = {"size": float(len(contract.to_json())), "latency": 1.0, "memory": 4096.0}
    least["ram"] = float(math.prod(contract.input.shape))
    why = {
        "size": f"the contract in each file of {path.name} (labels, input, self-test) takes",
        "latency": "calling an engine takes",
        "memory": "a page of memory takes",
        "ram": f"one item that {path.name} takes has",
    }
    for name, value in least.items():
        if limits.values.get(name, value) < value:
            kind = KINDS[name]
            raise InputError(
                f"{kind.option} is {kind.show(limits.values[name])}; {why[name]} {kind.show(value)} alone.",
                f"Raise {kind.option}: no file can keep this limit.",
            )


def _write_result(state: StrategySearch, folder: Path, note: Callable[[str], None]) -> CompressResult:
    """Measure the best file on test items, and write the result; that of other limits is kept."""
    cache = state.builder.cache
    subject = state.subject
    best = state.best()
    final: Mapping[str, Any] = {}
    missed = misses(state)
    target = None
    if best is None:
        met = False
        why = why_none(state, missed)
    else:
        worth_it = state.is_worth_it(best)
        explain = why_best if worth_it else why_float
        chosen = best if worth_it else state.reference
        final = state.measurer.final(chosen, state.reference, state.limits.values["drop"])
        met = final["drop_low_pp"] <= state.limits.values["drop"]
        why = explain(best, state, final)
        best = chosen
        assert best.file is not None
        target = folder / best.file.name
    document = {
        "schema_version": 1,
        "model": subject.model.name,
        "met": met,
        "file": None if target is None else str(target),
        "why": why,
        "best": None if best is None else best.number,
        "limits": dict(state.limits.values),
        "confidence": state.rule.confidence,
        "prefer": state.rule.prefer,
        "format": subject.format,
        "engine": subject.engine,
        "latency_on": state.measurer.place,
        "seed": subject.options.seed,
        "memory_on": "this machine" if subject.memory else None,
        "footprint": FOOTPRINT if state.limits.exported else None,
        "data": data_record(subject.opened) | {"validation": state.count},
        "final": dict(final) or None,
        "misses": [asdict(miss) | {"text": miss.in_words()} for miss in missed],
        "trials": [trial.to_dict() for trial in state.trials],
        "skipped": [asdict(each) for each in state.skipped],
        "strategies": {strategy.name: strategy.title for strategy in STRATEGIES},
        "seconds": round(cache.seconds, 1),
        "notes": list(cache.notes),
    }
    if (earlier := set_aside(folder, subject.model, document)) is not None:
        note(f"the result of other limits that {folder} held is now in {earlier}")
    if best is not None and best.file is not None and target is not None:
        write_bytes(target, best.file.read_bytes())
    write_json(folder / REPORT, document)
    plot_search(document, folder / PICTURE)
    return CompressResult(target, met, document)
