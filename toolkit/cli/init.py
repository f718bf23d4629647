"""The command `init`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgepress.converters.files import write_text
from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit import text
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.commands import NAME
from edgepress.toolkit.cli.option_table import CommaList
from edgepress.toolkit.cli.options import DATA_HELP, Json, PackagedEngine, engine_option
from edgepress.toolkit.cli.record_options import option_of
from edgepress.toolkit.cli.settings_file import load, relative
from edgepress.toolkit.errors import InputError, UsageError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.search.compression.options import MAX_LATENCY, MAX_SIZE
from edgepress.toolkit.text import DROP, SIZE, TIME, parse

if TYPE_CHECKING:
    from edgepress.toolkit.cli.surroundings import Found, Surroundings

SHOWN = 8
"""Most entries of a kind in the list."""


def init(
    data: Annotated[str | None, Option(help=DATA_HELP, show_default="what lies in the folder")] = None,
    board: Annotated[
        str | None,
        Option(
            parser=CommaList,
            metavar="HOST|KIND",
            help="Boards, separated by commas: a host as for ssh, kinds as for bundle --board",
            show_default="none",
        ),
    ] = None,
    max_drop: Annotated[
        float | None, Option(min=0, max=100, help="Largest accuracy drop, percentage points", show_default="none")
    ] = None,
    max_size: Annotated[str | None, option_of(replace(MAX_SIZE, show_default="none"))] = None,
    max_latency: Annotated[str | None, option_of(replace(MAX_LATENCY, show_default="none"))] = None,
    max_memory: Annotated[
        str | None,
        Option(metavar="SIZE", help="Maximum memory, excluding the engine, such as 64MB", show_default="none"),
    ] = None,
    engine: Annotated[PackagedEngine | None, engine_option("Engine of the board", PACKAGED)] = None,
    out: Annotated[Path, Option(help="File to write")] = Path(NAME),
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a file that is there")] = False,
    json_output: Json = False,
) -> None:
    """Look at a folder, ask for data, board and limits, and write edgepress.toml, which other commands read.

    Without a terminal, or with --json, nothing is asked.
    """
    from edgepress.toolkit.cli.surroundings import look

    if os.path.lexists(out) and not overwrite:
        named = [] if out == Path(NAME) else ["--out", str(out)]
        again = shell_line("edgepress", "init", *named, "--overwrite")
        raise InputError(f"{out} already exists.", f"Edit it, or replace it: {again}")
    seen = look(out.parent)
    choices = {"data": data, "board": board, "max_drop": max_drop, "max_size": max_size}
    choices |= {"max_latency": max_latency, "max_memory": max_memory}
    answers = {name: CHECKS[name](str(value)) for name, value in choices.items() if value is not None}
    if data is not None:
        answers["data"] = _beside(data, out.parent)
    guessed = "data" not in answers and bool(seen.data)
    defaults = {"data": _as_path(seen.data[0].path) if seen.data else ""}
    if not json_output:
        _show_seen(seen)
    if not json_output and screen.can_ask():
        for name, question in QUESTIONS.items():
            if (
                name not in answers
                and (answer := _ask_until_right(name, question, defaults.get(name, ""), out.parent)) != ""
            ):
                answers[name] = answer
    elif guessed:
        answers["data"] = defaults["data"]
    training = _foresee_training(answers.get("data"), out.parent)
    to_name = not _write(out, chosen_of(answers, engine) | {("train", name): training[name] for name in training}, seen)
    steps = next_steps(out, answers, seen, to_name=to_name)
    if json_output:
        options = answers | ({"engine": engine} if engine else {})
        options |= {"train": training} if training else {}
        paths = {kind: [each.path for each in getattr(seen, kind)] for kind in ("data", "models", "runs", "results")}
        screen.document({"file": str(out), "options": options, "found": paths, "next": steps})
        return
    lines = [f"{name.replace('_', '-')} {value}" for name, value in answers.items()]
    lines += [f"engine {engine}"] if engine else []
    screen.say(f"Set: {', '.join(lines)}" if lines else "Nothing is set; every option is commented out.")
    if training:
        screen.say(f"For train: {', '.join(f'{name} {value}' for name, value in training.items())}")
    if "data" not in answers:
        screen.say("No data: train needs --data, or data in the file; digits is built in.")
    if to_name:
        screen.say(
            "The data lie outside of the file's folder, so it has to be named: with --config or EDGEPRESS_CONFIG."
        )
    if host := _boards(answers.get("board", ""))[0]:
        screen.say(f"The host {host} is commented out: give it with --board, or name the file with --config.")
    screen.say(f"Written to {out}", style="bold")
    screen.next_command(steps[0])


def _foresee_training(source: Any, folder: Path) -> dict[str, str]:
    """The options of `train` that follow from data that are on this machine."""
    from edgepress.toolkit.data import NAMES
    from edgepress.toolkit.training.choosing import foresee

    if source is None or source in NAMES:
        return {}
    return foresee(str(folder / os.path.expanduser(source)))


def chosen_of(answers: dict[str, Any], engine: str | None) -> dict[tuple[str, str], Any]:
    """The values to set, by table and option: a host is for compress, kinds of boards are for bundle."""
    chosen = {("", name): value for name, value in answers.items() if name != "board"}
    if engine is not None:
        chosen["", "engine"] = engine
    host, kinds = _boards(answers.get("board", ""))
    if host:
        chosen["compress", "board"] = host
    if kinds:
        chosen["bundle", "board"] = kinds
    return chosen


def next_steps(out: Path, answers: dict[str, Any], seen: Surroundings, *, to_name: bool = False) -> list[str]:
    """The commands that make sense next, the first one first; `to_name`: they don't accept the file by finding it.

    None is about a run that was trained on other data than the file names, which the command would open.
    """
    limits = any(name.startswith("max_") and name != "max_drop" for name in answers)
    named = [] if relative(out) == NAME and not to_name else ["--config", str(out)]
    here = relative(out.parent)

    def step(command: str, *places: str, more: Sequence[str] = ()) -> str:
        paths = (os.path.normpath(os.path.join(here, place)) for place in places)
        return shlex.join(["edgepress", *named, command, *paths, *more])

    board = ["--board", host] if (host := _boards(answers.get("board", ""))[0]) else []
    data = answers.get("data", "")
    others = [
        run.path for run in seen.runs if data and run.data and os.path.normpath(run.data) != os.path.normpath(data)
    ]
    trained = [f"{run.path}/{run.model}" for run in seen.runs if run.path not in others]
    models = trained + [model.path for model in seen.models]
    results = [each.path for each in seen.results if not {each.path, os.path.dirname(each.path)} & {*others}]
    # A `.tflite` of others is often quantized already.
    sources = [model for model in models if model in trained or not model.endswith(".tflite")]
    make = partial(step, "compress", more=board) if limits else partial(step, "convert")
    steps = [make(model) for model in sources[:1]]
    steps += [step("evaluate", model) for model in models[:1] if not sources]
    steps += [step("benchmark", path) for path in results[:1] if not limits]
    return [*steps[::-1], step("train", more=[] if "data" in answers else ["--data", "digits"])]


def _boards(words: str) -> tuple[str, list[str]]:
    """The host and the kinds of boards that a text names.

    Raises:
        InputError: It names two hosts, or none that can be one.
    """
    from edgepress.toolkit.shipping.boards.ssh import checked_host
    from edgepress.toolkit.shipping.bundles.boards import BOARDS

    names = [word.strip() for word in words.split(",") if word.strip()]
    hosts = [checked_host(name) for name in names if name not in BOARDS]
    if len(hosts) > 1:
        kinds = ", ".join(BOARDS)
        raise InputError(f"--board names two hosts: {', '.join(hosts)}.", f"Give one, and kinds of: {kinds}.")
    return "".join(hosts), [name for name in names if name in BOARDS]


def _check_data(source: str) -> str:
    from edgepress.toolkit.data import ACCEPTED, KINDS, NAMES

    place = Path(os.path.expanduser(source))
    if source not in NAMES and not any(matches(place) for matches, _ in KINDS.values()):
        raise InputError(f"--data is {source!r}, which is not there or no data.", f"Accepted: {ACCEPTED}.")
    return source


def _as_path(path: str) -> str:
    """A path that can't be taken for the name of a data set."""
    from edgepress.toolkit.data import NAMES

    return f"./{path}" if path in NAMES else path


def _beside(source: str, folder: Path) -> str:
    """Data as the file in a folder names them."""
    from edgepress.toolkit.data import NAMES

    if source in NAMES or os.path.isabs(os.path.expanduser(source)) or relative(folder) == ".":
        return source
    try:
        return os.path.relpath(source, folder)
    except ValueError:  # another drive of Windows
        return os.path.abspath(source)


def _quantity(option: str, quantity: Any) -> Callable[[str], str]:
    def check(value: str) -> str:
        parse(option, value, quantity)
        return value

    return check


CHECKS: dict[str, Callable[[str], Any]] = {
    "data": _check_data,
    "board": lambda words: _boards(words) and words,
    "max_drop": lambda value: parse("--max-drop", value, DROP),
    "max_size": _quantity("--max-size", SIZE),
    "max_latency": _quantity("--max-latency", TIME),
    "max_memory": _quantity("--max-memory", SIZE),
}
"""What checks an answer and returns the value for the file."""
QUESTIONS = {
    "data": "Data: a folder of class folders, an .npz, or a name such as digits",
    "board": "Board: a host as for ssh, or a kind such as pi64-py313",
    "max_drop": "Largest accuracy drop, percentage points",
    "max_size": MAX_SIZE.help,
    "max_latency": "Largest latency, such as 5ms",
}
"""What is asked in a terminal."""


def _ask_until_right(name: str, question: str, default: str, folder: Path) -> Any:
    """The answer to a question, asked until it is right; "" for none."""
    while True:
        answer = screen.ask(question, default)
        if answer == default:
            return answer
        try:
            checked = CHECKS[name](answer)
            return _beside(checked, folder) if name == "data" else checked
        except InputError as e:
            screen.error(e, as_json=False)


def _write(out: Path, chosen: dict[tuple[str, str], Any], seen: Surroundings) -> bool:
    """Write the file, and read it back; returns whether commands that find it accept it."""
    import typer

    from edgepress.toolkit.cli.app import app
    from edgepress.toolkit.cli.template import template

    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    what = {_as_path(each.path): _describe(each) for each in seen.data}
    data = chosen.get(("", "data"))
    try:
        written = template(commands, chosen, {"data": what[data]} if data in what else {})
    except UnicodeEncodeError as e:
        raise InputError(f"{data!r} can't stand in a file of UTF-8.", "Rename it.") from e
    write_text(out, written)
    load(out, commands, typer.Context, found=False)
    try:
        load(out, commands, typer.Context, found=True)
    except UsageError:  # it names data elsewhere
        return False
    return True


def _describe(each: Found) -> str:
    return f"{each.what}, {text.size(each.size_bytes)}" if each.size_bytes else each.what


def _show_seen(seen: Surroundings) -> None:
    """Print what lies in the folder."""
    kinds = {"data": seen.data, "model": seen.models, "run": seen.runs, "results": seen.results}
    rows = [[name, each.path, _describe(each)] for name, things in kinds.items() for each in things[:SHOWN]]
    if rows:
        screen.show(screen.table([("found", "left"), ("path", "left"), ("what", "left")], rows))
        screen.say()
    hidden = sum(max(0, len(things) - SHOWN) for things in kinds.values())
    from edgepress.toolkit.data.items import TO_NPZ

    notes = [f"{text.plural(hidden, 'more thing')} of these kinds."] if hidden else []
    if seen.tables:
        notes.append(f"{seen.tables[0]}: edgepress reads no CSV. {TO_NPZ}")
    if not seen.complete:
        notes.append("The folder is large or deep, so only a part of it was looked at.")
    screen.note(*notes)
