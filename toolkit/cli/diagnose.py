"""The command `diagnose`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.board import SshConfig
from edgepress.toolkit.cli.diagnose_accuracy import diagnose_accuracy
from edgepress.toolkit.cli.diagnose_engines import diagnose_engines
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.cli.option_table import CommaList
from edgepress.toolkit.data import ACCEPTED
from edgepress.toolkit.engine_diagnosis.causes import ENGINES as COMPARED
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.terminal import Table, Text
from edgepress.toolkit.text import duration, percent, plural, rate
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    from edgepress.toolkit.speed_diagnosis.diagnosis import Diagnosis

Accuracy = partial(Option, rich_help_panel="Why a file is inaccurate")


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
    skip_unreadable: Annotated[
        bool, Accuracy("--skip-unreadable", help="Skip unreadable images, and list them")
    ] = False,
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
    from edgepress.toolkit.speed_diagnosis.diagnose import diagnose as work

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
