"""The commands of `board`, which reach boards by ssh: describe, measure, collect, and install bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import code_of, command
from edgepress.toolkit.cli.record_options import option_of, with_records
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.boards.options import (
    AS_USUAL,
    MEASURED,
    PYTHON,
    SSH_CONFIG,
    BoardBenchOptions,
    InstallOptions,
)
from edgepress.toolkit.text import plural

if TYPE_CHECKING:
    from edgepress.toolkit.results.records import Measurement
    from edgepress.toolkit.shipping.boards.bench import BoardBench
    from edgepress.toolkit.shipping.boards.push import Pushed


Bundle = Annotated[Path, Argument(help="Bundle to install, of edgepress bundle")]
Python = Annotated[str | None, option_of(PYTHON)]
SshConfig = Annotated[Path | None, option_of(SSH_CONFIG)]


def push(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    bundle: Bundle,
    how: InstallOptions = AS_USUAL,
    json_output: options.Json = False,
) -> None:
    """Install a bundle on a board as an update does: beside, self-test, shadow run, switch, watch."""
    from edgepress.toolkit.shipping.boards.push import push as work

    pushed = call_with(work, locals(), on_step=screen.step)
    if json_output:
        screen.document(pushed.to_dict())
        return
    if pushed.state == "up to date":
        screen.say(f"{host} has this release already.")
    else:
        screen.say(f"{host}: {_release(pushed.after)} is in use; before: {_release(pushed.before)}.")


def fleet(
    file: Annotated[Path, Argument(help="Boards, one a line, as for ssh; or a .toml file with hosts = [...]")],
    bundle: Bundle,
    jobs: Annotated[int, Option(min=1, max=200, help="Boards at a time")] = 8,
    max_failures: Annotated[int, Option(min=1, help="Begin no further board when so many have failed")] = 1,
    how: InstallOptions = AS_USUAL,
    json_output: options.Json = False,
) -> int:
    """Install a bundle on many boards; boards that have the release are skipped, so a call can be repeated."""
    from edgepress.toolkit.shipping.boards.fleet import DONE
    from edgepress.toolkit.shipping.boards.fleet import fleet as work

    result = call_with(work, locals(), hosts=file, on_step=screen.step)
    if json_output:
        screen.document(result.to_dict())
    else:
        columns = [("Board", "left"), ("State", "left"), ("Before", "right"), ("Now", "right"), ("Time", "right")]
        screen.show(screen.table([*columns, ("Why", "left")], [_row(board) for board in result.boards]))
        screen.say(", ".join(f"{count} {state}" for state, count in result.counts.items()), style="bold")
        if result.counts.get("not tried"):
            screen.note("After the failures no further board was begun; see --max-failures, or call it again.")
    return code_of(board.state in DONE for board in result.boards)


def _row(board: Pushed) -> list[str]:
    numbers = ["" if number is None else str(number) for number in (board.before, board.after)]
    time = f"{board.seconds:.1f} s" if board.seconds else ""
    return [board.host, board.state, *numbers, time, str(board.error) if board.error is not None else ""]


def _release(number: int | None) -> str:
    return "nothing" if number is None else f"release {number}" if number else "a release without a number"


app = typer.Typer(help="Describe boards, measure files on them, and install bundles, over ssh.")

FILE_SUFFIXES = (".tflite", ".onnx", ".zip")


@app.command()
@command
def info(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    python: Python = None,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> None:
    """Show a board's hardware, its temperature, whether it is throttled, and which engines it can install."""
    from edgepress.toolkit.shipping.boards.bench import board_info as work

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
@with_records
def bench(
    targets: Annotated[
        list[str],
        Argument(
            metavar="HOST... FILES...",
            help="Boards, as for ssh; .tflite and .onnx files, bundles of them (.zip), or one folder of files",
        ),
    ],
    data: Annotated[str | None, Option(help=options.DATA_HELP, show_default="only the self-test")] = None,
    how: BoardBenchOptions = MEASURED,
    json_output: options.Json = False,
) -> int:
    """Verify and measure files on boards, and add the results to the workstation's; removes the copied files."""
    from edgepress.toolkit.shipping.boards.bench import board_bench as work

    files = [t for t in targets if Path(t).suffix in FILE_SUFFIXES or Path(t).exists()]
    hosts = [t for t in targets if t not in files]
    if not files:
        raise InputError(f"No model file given, only boards: {', '.join(hosts)}.", "Add .tflite or .onnx files.")
    if not hosts:
        raise InputError(
            f"No board given, only files: {', '.join(files)}.",
            "Add a board as for ssh, such as pi@raspberrypi.local; with USER@ if a file has the same name.",
        )
    result = call_with(work, locals(), on_step=screen.step)
    boards = [b for b in result.benchmark.boards if b["name"] in hosts] if result.benchmark is not None else []
    measured = [r for r in result.benchmark.results if r.host in hosts] if result.benchmark is not None else []
    failed = [r for r in measured if r.failed]
    if json_output:
        screen.document(result.to_dict())
    else:
        _show_bench(result, boards, failed)
    if result.failed or failed:
        return code_of([*(not r.failed for r in measured), *(False for _ in result.failed)])
    return 3 if how.max_drop is not None and any(b.get("advice", {}).get("ship") is None for b in boards) else 0


@app.command()
@command
def collect(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    folder: Annotated[str, Option(help="The folder of --keep on the board, relative to the user's home")] = "kept",
    out: Annotated[Path | None, Option(help="Folder to write to", show_default="collected/HOST")] = None,
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> None:
    """Fetch the pictures or sounds that a board has kept by --keep, to label; resumes, and deletes nothing there."""
    from edgepress.toolkit.data.types import notes_of_skipped
    from edgepress.toolkit.shipping.boards.collect import board_collect as work

    with screen.progress({"pictures": f"Fetching from {host}"}) as advance:
        collected = work(host, folder=folder, out=out, ssh_config=ssh_config, on_progress=partial(advance, "pictures"))
    if json_output:
        screen.document(collected.to_dict())
        return
    screen.note(*notes_of_skipped(collected.skipped))
    screen.say(f"{plural(collected.fetched, 'new file')} in {collected.folder}; {collected.known} were there already.")
    screen.shell_command(f"Label them: {shell_line('edgepress', 'label', str(collected.folder))}")


app.command()(command(with_records(push)))
app.command()(command(with_records(fleet)))


def _show_bench(result: BoardBench, boards: Sequence[Mapping[str, Any]], failed: Sequence[Measurement]) -> None:
    from edgepress.toolkit.cli.tables import benchmark_table
    from edgepress.toolkit.shipping.boards.facts import fixes

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
