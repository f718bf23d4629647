"""The command `prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.bar import training_bar
from edgepress.toolkit.cli.graph_run import MODEL_HELP, graph_run, show
from edgepress.toolkit.cli.options import Json, source_hints, with_options


@with_options(hints=source_hints, run=graph_run)
def prune(
    model: Annotated[Path, Argument(help=MODEL_HELP)],
    *,
    hints: Hints,
    macs: Annotated[str | None, Option(help="Share of the multiply-accumulates that may be left, such as 50%")] = None,
    max_size: Annotated[str | None, Option(help="Largest size of the int8 TFLite file, such as 100kB")] = None,
    max_latency: Annotated[
        str | None, Option(help="Longest answer of that file on this machine, with one thread, such as 2ms")
    ] = None,
    importance: Annotated[str, Option(help="What ranks channels: l1, taylor, variance or auto")] = "auto",
    run: dict[str, Any],
    json_output: Json = False,
) -> None:
    """Remove whole channels of a model of any format, train what is left to answer as it did; convert makes files."""
    from edgepress.toolkit.pruning.prune import prune as work
    from edgepress.toolkit.quantities import SHARE, SIZE, TIME, parsed

    size, latency_us = parsed("--max-size", max_size, SIZE), parsed("--max-latency", max_latency, TIME)
    limits = {
        "macs": parsed("--macs", macs, SHARE),
        "size_bytes": None if size is None else int(size),
        "latency_ms": None if latency_us is None else latency_us / 1e3,
    }
    with training_bar() as advance:
        result = work(model, **limits, importance=importance, hints=hints, on_progress=advance, **run)  # type: ignore[arg-type]
    if json_output:
        screen.document(result.summary())
        return
    show(result, "float graph on validation items", run["data"])
