"""The commands `engine list`, `engine add` and `engine remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.frame import command
from edgepress.toolkit.cli.options import Json, PackagedEngine

if TYPE_CHECKING:
    from edgepress.toolkit.machine.environments import EngineState

EngineName = Argument(metavar="NAME", help=f"Engine: {', '.join(PACKAGED)}")
app = typer.Typer(help="Manage engines that are installed in separate environments.")


@app.command("list")
@command
def list_engines(json_output: Json = False) -> None:
    """List the engines, and where each is installed."""
    from edgepress.toolkit.machine.environments import engine_states

    states = engine_states()
    if json_output:
        screen.document({"engines": [_as_dict(s) for s in states]})
        return
    columns = (("Engine", "left"), ("Opens", "left"), ("Version", "left"), ("Where", "left"))
    rows = [(s.name, ", ".join(s.formats), s.version, _show_location(s)) for s in states]
    screen.show(screen.table(columns, rows))


@app.command()
@command
def add(
    name: Annotated[PackagedEngine, EngineName],
    python: Annotated[
        Path | None, Option(help="Python to create the environment with", show_default="the newest suitable one found")
    ] = None,
    json_output: Json = False,
) -> None:
    """Install an engine into a separate environment, where the commands that need it find it."""
    from edgepress.toolkit.machine.environments import add_engine as work

    state = work(name, python=python)
    if json_output:
        screen.document(_as_dict(state))
        return
    screen.say(f"{state.name} {state.version} works: {_show_location(state)}")


@app.command()
@command
def remove(name: Annotated[PackagedEngine, EngineName], json_output: Json = False) -> None:
    """Remove an engine's environment; packages installed next to edgepress stay."""
    from edgepress.toolkit.machine.environments import remove_engine as work

    folder = work(name)
    if json_output:
        screen.document({"removed": str(folder)})
        return
    screen.say(f"Removed {folder}")


def _show_location(state: EngineState) -> str:
    if not state.version:
        return f"not installed: edgepress engine add {state.name}"
    return str(state.python.parent.parent) if state.python else "next to edgepress"


def _as_dict(state: EngineState) -> dict[str, object]:
    python = str(state.python) if state.python else None
    return {"name": state.name, "formats": list(state.formats), "version": state.version or None, "python": python}
