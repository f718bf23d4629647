"""The command `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import SIZE_HELP, TRUST_HELP, Json


def inspect(
    file: Annotated[
        Path, Argument(help="A .tflite, .onnx, .keras, .h5 or .hdf5 file, a SavedModel folder, or a run's folder")
    ],
    size: Annotated[str | None, Option(help=SIZE_HELP)] = None,
    nodes: Annotated[bool, Option("--nodes", help="Also print every operation in execution order")] = False,
    trust: Annotated[bool, Option("--trust", help=TRUST_HELP)] = False,
    json_output: Json = False,
) -> None:
    """Show what a model file holds: interface, operations, memory, sizes, and the oldest engines that run it."""
    from edgepress.toolkit.cli import inspect_table as tables
    from edgepress.toolkit.inspection import inspect as work

    inspection = work(file, size=size, trust=trust)
    if json_output:
        screen.document(inspection.as_dict())
        return
    parts = [tables.summary_table(inspection), tables.operations_table(inspection), tables.weights_table(inspection)]
    for part in [*parts, *([tables.nodes_table(inspection)] if nodes else [])]:
        screen.show(part)
        screen.say()
    screen.note(*inspection.notes)
