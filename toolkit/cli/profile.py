"""Commands that look at engines: where the time goes in one, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import Json, Threads, app, command

if TYPE_CHECKING:
    from edgepress.toolkit.engines.environments import EngineState

engine_app = typer.Typer(help="Engines that have an environment of their own.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


@app.command()
@command
def profile(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    engine: Annotated[
        str | None,
        typer.Option(help="litert, onnxruntime or openvino.", show_default="the first that opens the file"),
    ] = None,
    threads: Threads = 1,
    runs: Annotated[int, typer.Option(min=1, help="Inferences to trace; fewer if they take over 2 s.")] = 200,
    nodes: Annotated[bool, typer.Option("--nodes", help="Print every kernel in its order.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the time by layer into this .png or .svg.")] = None,
    json_output: Json = False,
) -> None:
    """Where the time of one inference goes: by operation, by layer, and what the delegate takes."""
    from edgepress.toolkit.cli.profile_table import nodes_table, operations_table, summary
    from edgepress.toolkit.profiling.plot import checked_suffix, plot_profile
    from edgepress.toolkit.profiling.profile import profile as work

    if plot is not None:
        checked_suffix(plot)
    result = work(file, engine, threads=threads, runs=runs)
    if plot is not None:
        plot_profile(result, plot)
    if json_output:
        screen.document(result.to_dict())
        return
    screen.show(operations_table(result))
    if nodes:
        screen.say()
        screen.show(nodes_table(result))
    screen.say()
    for line in summary(result):
        screen.say(line)
    if plot is not None:
        screen.say(f"Written: {plot}")


@engine_app.command("list")
@command
def list_engines(json_output: Json = False) -> None:
    """Which engines there are, and where."""
    from edgepress.toolkit.engines.environments import engine_states

    states = engine_states()
    if json_output:
        screen.document({"engines": [_as_dict(s) for s in states]})
        return
    columns = (("Engine", "left"), ("Opens", "left"), ("Version", "left"), ("Where", "left"))
    rows = [(s.name, ", ".join(s.formats), s.version, _where(s)) for s in states]
    screen.show(screen.table("", columns, rows))


@engine_app.command("add")
@command
def add(
    name: Annotated[str, typer.Argument(help="litert, tflite-runtime, onnxruntime or openvino.")],
    python: Annotated[
        Path | None, typer.Option(help="The Python to make it from.", show_default="the newest found that fits")
    ] = None,
    json_output: Json = False,
) -> None:
    """Install an engine into an environment of its own, where benchmark, predict and profile find it."""
    from edgepress.toolkit.engines.environments import add_engine as work

    state = work(name, python=python)
    if json_output:
        screen.document(_as_dict(state))
        return
    screen.say(f"{state.name} {state.version} works: {_where(state)}")


@engine_app.command("remove")
@command
def remove(
    name: Annotated[str, typer.Argument(help="The engine.")],
    json_output: Json = False,
) -> None:
    """Remove an engine's environment; what is installed beside edgepress stays."""
    from edgepress.toolkit.engines.environments import remove_engine as work

    folder = work(name)
    if json_output:
        screen.document({"removed": str(folder)})
        return
    screen.say(f"Removed {folder}")


def _where(state: EngineState) -> str:
    if not state.version:
        return f"not installed: edgepress engine add {state.name}"
    return str(state.python.parent.parent) if state.python else "here"


def _as_dict(state: EngineState) -> dict[str, object]:
    python = str(state.python) if state.python else None
    return {"name": state.name, "formats": list(state.formats), "version": state.version or None, "python": python}
