"""The command `diagnose`: why files are slow; with data, inaccurate; with engines, different on each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.board import SshConfig
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.cli.option_table import CommaList
from edgepress.toolkit.data import ACCEPTED
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.diagnosis.engines.diagnose import ENGINES as COMPARED
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.terminal import Table, Text
from edgepress.toolkit.text import duration, interval, number, percent, plural, rate
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis
    from edgepress.toolkit.diagnosis.engines.diagnose import EngineComparison
    from edgepress.toolkit.diagnosis.speed.diagnosis import Diagnosis


def diagnose_engines(
    files: list[Path],
    engines: str,
    hints: Hints,
    *,
    data: str | None,
    samples: int,
    reading: Reading,
    ssh_config: Path | None,
    json_output: bool,
) -> None:
    """Compare engines on one file, and show the first operation that differs."""
    from edgepress.toolkit.diagnosis.engines.diagnose import diagnose_engines as work

    if len(files) != 1:
        raise InputError(f"With --engines, one file is run; found {len(files)}.", "Give one .tflite file.")
    names = [name.strip() for name in engines.split(",") if name.strip()]
    comparison = call_with(work, locals(), file=files[0], engines=names, on_step=screen.step)
    screen.note(*comparison.notes)
    if json_output:
        screen.document(comparison.to_dict())
        return
    _show_engines(comparison)


def _show_engines(comparison: EngineComparison) -> None:
    items = f"{plural(comparison.items, 'item')} ({comparison.source})"
    screen.say(f"{comparison.file}, {plural(comparison.operations, 'operation')}, {items}", style="bold")
    rows: list[list[str]] = []
    for pair in comparison.pairs:
        names = " and ".join(pair.engines)
        first = pair.first
        if first is None:
            rows.append([names, "none: the same numbers everywhere", "", "", "", ""])
            continue
        what = f"{first.operation} {first.kind} {first.tensor}"
        shown = [str(first.steps), f"{first.items} of {comparison.items}", percent(first.values)]
        rows.append([names, what, *shown, f"{pair.answers} of {comparison.items}, up to {pair.answer_steps}"])
    columns = [("Engines", "left"), ("First operation that differs", "left"), ("Steps", "right"), ("Items", "right")]
    screen.show(screen.table([*columns, ("Numbers", "right"), ("Answers that differ", "right")], rows))
    for pair in comparison.pairs:
        if pair.first is not None:
            screen.say(f"Cause, {' and '.join(pair.engines)}, {pair.first.kind}: {pair.first.why}.")


KINDS_WIDTH = 120
"""Width of the screen from which on the kinds of layers have room."""
SHOWN = 12
"""Layers in the table; the JSON document has all."""
CLASSES = 5
"""Classes in the table; the JSON document has all."""


def diagnose_accuracy(
    files: list[Path],
    hints: Hints,
    data: str | None,
    *,
    test_items: int,
    samples: int,
    attempt: bool,
    reading: Reading,
    plot: Path | None,
    json_output: bool,
) -> None:
    """Diagnose a file beside its model, and show what was found."""
    from edgepress.toolkit.diagnosis.accuracy.diagnose import diagnose_accuracy as work
    from edgepress.toolkit.diagnosis.accuracy.plot import plot_accuracy
    from edgepress.toolkit.documents import checked_suffix

    if len(files) != 2:
        raise InputError(
            f"With --data, two files are compared; found {len(files)}.",
            "Give the model, and then one quantized file that was converted from it.",
        )
    if plot is not None:
        checked_suffix(plot)
    with screen.progress({"layers": "Measuring layers"}) as on_progress:
        diagnosis = call_with(work, locals(), model=files[0], file=files[1], data=data or None, on_start=screen.step)
    if plot is not None:
        plot_accuracy(diagnosis, plot)
    screen.note(*diagnosis.notes)
    if json_output:
        screen.document(diagnosis.to_dict())
        return
    screen.say(diagnosis.text)
    screen.say()
    screen.show(_layers_table(diagnosis))
    if diagnosis.classes:
        screen.say()
        screen.show(_classes_table(diagnosis))
    if plot is not None:
        screen.say()
        screen.say(f"Plot: {plot}")


def _layers_table(diagnosis: AccuracyDiagnosis) -> Table:
    from edgepress.toolkit.diagnosis.accuracy.result import short

    wide = screen.width() >= KINDS_WIDTH
    columns = [("Layer", "left"), *([("Kind", "left"), ("Held as", "left")] if wide else [])]
    columns += [("Error", "right"), ("Agreement", "right")]
    columns += [("Own dB", "right"), ("Whole dB", "right"), ("Range used", "right"), ("Beyond", "right")]
    columns += [("Channels", "right"), ("Fault", "left")]
    rows: list[list[str | Text]] = []
    for layer in diagnosis.layers[:SHOWN]:
        dead = f", {layer.dead + layer.lost} dead" if layer.dead + layer.lost else ""
        rows.append(
            [
                short(layer.name),
                *([layer.kind, layer.stored] if wide else []),
                percent(layer.cost, ".1f"),
                percent(layer.agreement, ".1f"),
                number(layer.channel_db),
                number(layer.sqnr_db),
                percent(layer.range_used, ".0f"),
                percent(layer.clipped, ".1f"),
                f"{layer.spread:.1f}×{dead}",
                Text(layer.fault, style="red"),
            ]
        )
    return screen.table(columns, rows)


def _classes_table(diagnosis: AccuracyDiagnosis) -> Table:
    columns = [("Class", "left"), ("Items", "right"), ("Model", "right"), ("File", "right"), ("Loss, pp", "right")]
    rows = [
        [c.label, str(c.support), percent(c.model), percent(c.file), interval(c.drop_pp, c.drop_low_pp, c.drop_high_pp)]
        for c in diagnosis.classes[:CLASSES]
    ]
    return screen.table(columns, rows)


ACCURACY = "Why a file is inaccurate"
Accuracy = partial(Option, rich_help_panel=ACCURACY)


@options.with_source_hints
def diagnose(
    files: Annotated[
        list[Path],
        Argument(
            help=".tflite files without state, or .onnx files; with --data, a model and then one quantized file; with "
            "--engines, one integer-only .tflite file"
        ),
    ],
    hints: Hints,
    engine: Annotated[
        str | None,
        Option(
            parser=CommaList,
            metavar="NAMES",
            help=f"Engines that run the files, separated by commas: all, {', '.join(TRACERS)}",
            show_default="the first installed one that opens the file",
            autocompletion=options.list_of(("all", *TRACERS)),
        ),
    ] = None,
    engines: Annotated[
        str | None,
        Option(
            parser=CommaList,
            metavar="NAMES",
            help="Name the first operation that these engines compute differently, on the items of --data or random "
            f"ones: two or more of {', '.join(COMPARED)}, board:HOST (by ssh)",
            autocompletion=options.list_of(COMPARED),
        ),
    ] = None,
    threads: options.Threads = 1,
    runs: Annotated[int, Option(min=1, help="Inferences to trace; fewer if they take longer than 2 s")] = 200,
    data: Annotated[
        str | None, Accuracy(help=f"Say why the file is inaccurate, on the test items of this data set: {ACCEPTED}")
    ] = None,
    samples: Annotated[
        int, Accuracy(min=1, help="Test items on which layers, or engines, are compared; fewer of large nets")
    ] = 64,
    test_items: Annotated[int, Accuracy(min=1, help="Test items that the model and the file answer")] = 1000,
    plot: Annotated[Path | None, Accuracy(help="Also plot layers and classes to a .png or .svg file")] = None,
    attempt: Annotated[
        bool, Accuracy("--try/--no-try", help="Try fixes before recommending them, by converting again")
    ] = True,
    reading: Annotated[Reading, ACCURACY] = STRICT,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> int:
    """Say why files are slow and how to fix it; or, with --data, which layers make a file inaccurate.

    Slow: what is not delegated, converted or far below this CPU's reach. Inaccurate: what each layer adds to the error.
    With --engines: which operation of one file engines compute differently.
    """
    if engines is not None:
        call_with(diagnose_engines, locals())
        return 0
    if ssh_config is not None:
        raise InputError("--ssh-config is for boards in --engines, such as board:HOST.", "Leave --ssh-config out.")
    if data is not None:
        call_with(diagnose_accuracy, locals())
        return 0
    if plot is not None or hints != Hints():
        raise InputError("A plot, and options that describe a model, need --data.", "Give --data, or leave them out.")
    from edgepress.toolkit.diagnosis.speed.diagnose import diagnose as work

    failed: list[dict[str, str]] = []

    def note(file: str, engine: str, error: EdgepressError) -> None:
        failed.append({"file": file, "engine": engine, "error": error.message, "hint": error.hint})
        screen.note(f"{file}: {error.message} {error.hint}".strip())

    names = None if engine is None else [name.strip() for name in engine.split(",") if name.strip()]
    one = len(files) == 1 and (names is None or (len(names) == 1 and names != ["all"]))
    diagnoses = work(
        *files, engine=names, threads=threads, runs=runs, on_start=screen.step, on_error=None if one else note
    )
    if json_output:
        screen.document({"diagnoses": [d.to_dict() for d in diagnoses], "failed": failed})
    else:
        for i, one_found in enumerate(diagnoses):
            if i:
                screen.say()
            _show(one_found)
    if failed and diagnoses and not json_output:
        screen.note("to say why a file is inaccurate, add --data: edgepress diagnose MODEL FILE --data DATA")
    return code_of([True] * len(diagnoses) + [False] * len(failed))


def _show(diagnosis: Diagnosis) -> None:
    threads = plural(diagnosis.threads, "thread")
    screen.say(f"{diagnosis.file} on {diagnosis.engine}, {threads}: {duration(diagnosis.total_us)}", style="bold")
    screen.say(diagnosis.text)
    screen.say()
    screen.show(_parts_table(diagnosis))
    if diagnosis.findings:
        screen.say()
        screen.show(_findings_table(diagnosis))
        for command in dict.fromkeys(f.command for f in diagnosis.findings if f.command):
            screen.say(f"To fix it: {command}")
    for text in diagnosis.notes:
        screen.note(text)


def _parts_table(diagnosis: Diagnosis) -> Table:
    columns = [("Where the time goes", "left"), ("Kernels", "right"), ("Time", "right"), ("Share", "right")]
    columns += [("Speed", "right"), ("Of this CPU's reach", "right")]
    rows = [
        [
            f"{p.work}{', not delegated' if p.delegated is False else ''}",
            str(p.count or ""),
            duration(p.time_us),
            percent(p.share, ".0f"),
            rate(p.macs_per_s, "MAC"),
            percent(p.reach, ".0f"),
        ]
        for p in diagnosis.parts
    ]
    return screen.table(columns, rows)


def _findings_table(diagnosis: Diagnosis) -> Table:
    columns = [("Share", "right"), ("What", "left"), ("Fix", "left"), ("Known from", "left")]
    rows: list[list[str | Text]] = []
    for f in diagnosis.findings:
        name = f" ({f.rewrite or f.scheme})" if f.fix else ""
        fix = Text(f"{f.fix}{name}" if f.fix else "none known", style="green" if f.fix else "")
        rows.append([percent(f.share, ".0f"), f.text, fix, Text(f.ground, style="dim")])
    return screen.table(columns, rows)
