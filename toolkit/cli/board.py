"""The commands of boards by ssh: `board info` says what one is, `board bench` measures files there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import DATA_HELP, Json, SkipUnreadable, app, command
from edgepress.toolkit.errors import InputError

if TYPE_CHECKING:
    from edgepress.toolkit.boards.bench import BoardBench

board_app = typer.Typer(
    name="board", help="Boards by ssh: what they are, and how files do there.", no_args_is_help=True
)
app.add_typer(board_app)

FILE_SUFFIXES = (".tflite", ".onnx", ".zip")
Python = Annotated[
    str | None,
    typer.Option("--python", help="A Python on the board that has the engines.", show_default="python3, own packages"),
]
SshConfig = Annotated[Path | None, typer.Option(help="Configuration file for ssh, as ssh -F.", show_default="your own")]


@board_app.command()
@command
def info(
    host: Annotated[str, typer.Argument(help="As ssh takes it: NAME, USER@NAME, ssh://USER@NAME:PORT.")],
    python: Python = None,
    ssh_config: SshConfig = None,
    json_output: Json = False,
) -> None:
    """What a board is, how warm it is, whether it is held back, and which engine it can have."""
    from edgepress.toolkit.boards.bench import board_info as work

    found = work(host, python=python, ssh_config=ssh_config)
    if json_output:
        screen.document(found)
        return
    _show_board(found)
    screen.say(found["advice"])
    if found["install"]:
        screen.say("A bundle brings its engine (edgepress bundle, edgepress board bench). By hand, there:")
        screen.say(f"  {found['install']}")


@board_app.command()
@command
def bench(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="HOST... FILES...",
            help="Boards, as ssh takes them; .tflite and .onnx files, bundles of them (.zip), or one folder of files.",
        ),
    ],
    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default="the self-test alone")] = None,
    items: Annotated[int, typer.Option(min=1, help="Test items to send at most.")] = 1000,
    python: Python = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds of timing over all files; 6 or more give an interval.")
    ] = 6,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Timing of each file in a round, for each of --threads.")
    ] = 1.0,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Accuracy drop that is still usable, percentage points.", show_default="1"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark.json to merge with.", show_default="the files' own")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was copied on the board.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Take up a run that was cut.")] = False,
    skip_unreadable: SkipUnreadable = False,
    ssh_config: SshConfig = None,
    json_output: Json = False,
) -> int:
    """Prove and measure files on boards, beside the workstation's results; nothing is left there."""
    from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
    from edgepress.toolkit.boards.bench import board_bench as work

    files = [t for t in targets if Path(t).suffix in FILE_SUFFIXES or Path(t).exists()]
    hosts = [t for t in targets if t not in files]
    if not files:
        raise InputError(f"No file is named, only boards: {', '.join(hosts)}.", "Name .tflite or .onnx files.")
    if not hosts:
        raise InputError(
            f"No board is named, only files: {', '.join(files)}.",
            "Name one as ssh does, such as pi@raspberrypi.local; with USER@ where a file has its name.",
        )
    result = work(
        hosts,
        files,
        data=data,
        items=items,
        python=python,
        threads=_counts(threads),
        rounds=rounds,
        seconds=seconds,
        max_drop_pp=MAX_DROP_PP if max_drop is None else max_drop,
        out=out,
        keep=keep,
        resume=resume,
        skip_unreadable=skip_unreadable,
        ssh_config=ssh_config,
        on_step=screen.step,
    )
    if json_output:
        screen.document(result.to_dict())
    else:
        _show_bench(result, hosts)
    boards = [b for b in result.benchmark.boards if b["name"] in hosts] if result.benchmark is not None else []
    rows = [r for r in result.benchmark.results if r.host in hosts] if result.benchmark is not None else []
    if result.failed or any(r.failed for r in rows):
        return 1
    return 3 if max_drop is not None and any(b.get("advice", {}).get("ship") is None for b in boards) else 0


def _counts(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as e:
        raise InputError(f"--threads is {text!r}; accepted: whole numbers separated by commas, such as 1,2,4.") from e


def _show_bench(result: BoardBench, hosts: list[str]) -> None:
    from edgepress.toolkit.boards.facts import remedies
    from edgepress.toolkit.cli.tables import benchmark_table

    if result.benchmark is not None:
        screen.show(benchmark_table(result.benchmark))
        for board in result.benchmark.boards:
            if board["name"] in hosts:
                screen.say()
                _show_board(board)
                if board["reasons"]:
                    why = f"Not comparable: {', '.join(board['reasons'])}. {remedies(board['reasons'])}"
                    screen.say(why.strip(), style="bold red")
                for text in board["notes"]:
                    screen.note(f"{board['name']}: {text}")
                if "advice" in board:
                    screen.say(f"Ship to {board['name']}: {board['advice']['ship'] or 'none'}", style="bold")
                    screen.say(board["advice"]["why"])
                if board["left_in"]:
                    screen.say(f"Left there: {board['left_in']}")
        for row in result.benchmark.results:
            if row.host in hosts and row.failed:
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
        "Temperature": _span(
            [t for t in (board["temperature_before_c"], board["temperature_max_c"]) if t is not None], "°C"
        ),
        "Throttled": None if board["throttled_after"] is None else f"{board['throttled_after']:#x}",
    }
    for name, value in shown.items():
        screen.say(f"  {name:<12} {value or 'not known'}")


def _span(values: list[float] | None, unit: str) -> str:
    if not values:
        return ""
    low, high = values[0], values[-1]
    return f"{low:.0f} {unit}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f} {unit}"
