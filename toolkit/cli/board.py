"""The commands of `board`, which reach boards by ssh; those that install bundles are in `board_push`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import board_push, options, screen
from edgepress.toolkit.cli.frame import code_of, command
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.text import plural

if TYPE_CHECKING:
    from edgepress.toolkit.boards.bench import BoardBench
    from edgepress.toolkit.results.records import Measurement

app = typer.Typer(help="Describe boards, measure files on them, and install bundles, over ssh.")

FILE_SUFFIXES = (".tflite", ".onnx", ".zip")
Python = Annotated[
    str | None,
    Option(
        "--python", help="Python on the board that has the engines", show_default="python3, with the bundle's packages"
    ),
]
SshConfig = Annotated[Path | None, Option(help="Configuration file of ssh, as for ssh -F", show_default="the user's")]


@app.command()
@command
def info(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    python: Python = None,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> None:
    """Show a board's hardware, its temperature, whether it is throttled, and which engines it can install."""
    from edgepress.toolkit.boards.bench import board_info as work

    facts = work(host, python=python, ssh_config=ssh_config)
    if json_output:
        screen.document(facts)
        return
    _show_board(facts)
    screen.say(facts["advice"])
    if facts["install"]:
        screen.say("A bundle installs its engine (edgepress bundle, edgepress board bench). By hand, on the board:")
        screen.shell_command(f"  {facts['install']}")


@app.command()
@command
def bench(
    targets: Annotated[
        list[str],
        Argument(
            metavar="HOST... FILES...",
            help="Boards, as for ssh; .tflite and .onnx files, bundles of them (.zip), or one folder of files",
        ),
    ],
    data: Annotated[str | None, Option(help=options.DATA_HELP, show_default="only the self-test")] = None,
    items: Annotated[int, Option(min=1, help="Largest number of test items to send")] = 1000,
    python: Python = None,
    threads: options.ThreadCounts = "1",
    rounds: Annotated[
        int, Option(min=0, help="Rounds of timing over all files; 6 or more give confidence intervals")
    ] = 6,
    seconds: Annotated[
        float, Option(min=0.1, help="Seconds of timing for each file and number of threads in a round")
    ] = 1.0,
    max_drop: options.MaxDrop = None,
    confidence: options.Confidence = "90%",
    prefer: options.Preference = "balanced",
    out: Annotated[
        Path | None, Option(help="Folder of the benchmark.json to merge with", show_default="the folder of the files")
    ] = None,
    keep: Annotated[bool, Option("--keep", help="Keep the copied files on the board")] = False,
    resume: options.Resume = False,
    skip_unreadable: options.SkipUnreadable = False,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> int:
    """Verify and measure files on boards, and add the results to the workstation's; removes the copied files."""
    from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
    from edgepress.toolkit.benchmarking.plan import parse_counts
    from edgepress.toolkit.boards.bench import board_bench as work

    files = [t for t in targets if Path(t).suffix in FILE_SUFFIXES or Path(t).exists()]
    hosts = [t for t in targets if t not in files]
    if not files:
        raise InputError(f"No model file given, only boards: {', '.join(hosts)}.", "Add .tflite or .onnx files.")
    if not hosts:
        raise InputError(
            f"No board given, only files: {', '.join(files)}.",
            "Add a board as for ssh, such as pi@raspberrypi.local; with USER@ if a file has the same name.",
        )
    result = call_with(
        work,
        locals(),
        threads=parse_counts(threads, "--threads"),
        max_drop_pp=MAX_DROP_PP if max_drop is None else max_drop,
        on_step=screen.step,
    )
    boards = [b for b in result.benchmark.boards if b["name"] in hosts] if result.benchmark is not None else []
    measured = [r for r in result.benchmark.results if r.host in hosts] if result.benchmark is not None else []
    failed = [r for r in measured if r.failed]
    if json_output:
        screen.document(result.to_dict())
    else:
        _show_bench(result, boards, failed)
    if result.failed or failed:
        return code_of([*(not r.failed for r in measured), *(False for _ in result.failed)])
    return 3 if max_drop is not None and any(b.get("advice", {}).get("ship") is None for b in boards) else 0


@app.command()
@command
def collect(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    folder: Annotated[str, Option(help="The folder of --keep on the board, relative to the user's home")] = "kept",
    out: Annotated[Path | None, Option(help="Folder to write to", show_default="collected/HOST")] = None,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> None:
    """Fetch the pictures that a board has kept with --keep, to label them; resumes, and deletes nothing there."""
    from edgepress.toolkit.boards.collect import board_collect as work
    from edgepress.toolkit.data.types import notes_of_skipped

    with screen.progress({"pictures": f"Fetching from {host}"}) as advance:
        collected = work(host, folder=folder, out=out, ssh_config=ssh_config, on_progress=partial(advance, "pictures"))
    if json_output:
        screen.document(collected.to_dict())
        return
    screen.note(*notes_of_skipped(collected.skipped))
    screen.say(
        f"{plural(collected.fetched, 'new picture')} in {collected.folder}; {collected.known} were there already."
    )
    screen.shell_command(f"Label them: {shell_line('edgepress', 'label', str(collected.folder))}")


app.command()(command(board_push.push))
app.command()(command(board_push.fleet))


def _show_bench(result: BoardBench, boards: Sequence[Mapping[str, Any]], failed: Sequence[Measurement]) -> None:
    from edgepress.toolkit.boards.facts import fixes
    from edgepress.toolkit.cli.tables import benchmark_table

    if result.benchmark is not None:
        screen.show(benchmark_table(result.benchmark))
        for board in boards:
            screen.say()
            _show_board(board)
            if board["reasons"]:
                why = f"Not comparable: {', '.join(board['reasons'])}. {fixes(board['reasons'])}"
                screen.say(why.strip(), style="bold red")
            screen.note(*(f"{board['name']}: {text}" for text in board["notes"]))
            if "advice" in board:
                screen.say(f"Ship to {board['name']}: {board['advice']['ship'] or 'none'}", style="bold")
                screen.say(board["advice"]["why"])
            if board["left_in"]:
                screen.say(f"Left on the board: {board['left_in']}")
        for row in failed:
            screen.say(f"{row.file} on {row.host} {row.status}", style="red")
        screen.say(f"Written: {result.path}")
    for error in result.failed.values():
        screen.error(error, as_json=False)


def _show_board(board: Mapping[str, Any]) -> None:
    screen.say(f"{board['name']}: {board['cpu']}", style="bold")
    shown = {
        "CPU": ", ".join(filter(None, (board["core"], f"{board['cores']} cores", *board["extensions"]))),
        "System": f"{board['os']}, Linux {board['kernel']}, {board['machine']}",
        "Python": f"{board['python']}, {board['bits']} bits",
        "Engines": ", ".join(f"{name} {version}" for name, version in board["engines"].items()) or "none",
        "Governor": board["governor"],
        "Frequency": _span(board["frequency_mhz"], "MHz"),
        "Temperature": _span([board["temperature_before_c"], board["temperature_max_c"]], "°C"),
        "Throttled": None if board["throttled_after"] is None else f"{board['throttled_after']:#x}",
    }
    for name, value in shown.items():
        screen.say(f"  {name:<12} {value or 'unknown'}")


def _span(values: Sequence[float | None] | None, unit: str) -> str:
    ends = list(dict.fromkeys(f"{value:.0f}" for value in values or () if value is not None))
    return f"{' to '.join([*ends[:1], *ends[1:][-1:]])} {unit}" if ends else ""
