"""The command `inspect`, and its tables: a summary, the operations, the largest tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from edgepress.converters.inspection import Inspection, Port
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import SIZE_HELP, Json
from edgepress.toolkit.cli.screen import table, width
from edgepress.toolkit.terminal import Table, Text
from edgepress.toolkit.text import count, plural, size
from edgepress.toolkit.training.options import TRUST_HELP

LARGEST = 8
"""Number of tensors shown."""
NAMED = 4
"""Number of operations named in one line of the summary."""
TFLITE_RUNTIMES = {"tflite_runtime": "tflite-runtime", "ai_edge_litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


def summary_table(found: Inspection) -> Table:
    """The main facts, one per row."""
    rows: list[tuple[str, str | Text]] = [
        ("File", found.file),
        ("Format", f"{found.format}{f', by {found.producer}' if found.producer else ''}"),
        ("Size", _sizes(found)),
        ("Contract", _contract(found)),
        ("Front end", _front_end(found)),
        ("Made for", _target(found)),
        ("Quantized", _tuning(found)),
        *(("Input" if i == 0 else "", _port(port)) for i, port in enumerate(found.inputs)),
        *(("Output" if i == 0 else "", _port(port)) for i, port in enumerate(found.outputs)),
        ("Parameters", f"{found.parameters:,}"),
        ("MACs", _macs(found)),
        ("Peak memory", _memory(found)),
        ("Computes in", _precision(found)),
        ("Islands", _islands(found)),
        ("Runs on", _runtime(found)),
        ("Opened by", _engine(found)),
        ("As firmware", _microcontroller(found)),
    ]
    for title, names in (("Flex", found.flex_operations), ("Custom", found.custom_operations)):
        if names:
            compiled = "; compiled for an Ethos-U, by Vela" if "ethos-u" in names else ""
            rows.append((title, Text(f"{_some(names)}: no engine has these built in{compiled}", style="red")))
    result = table([("", "left"), ("", "left")], [row for row in rows if row[1]])
    result.show_header = False
    return result


def operations_table(found: Inspection) -> Table:
    """Operations grouped by version and types, the most multiplications first."""
    groups = found.operations()
    columns: list[tuple[str, str, str]] = [("Operation", "left", "operation")]
    if any(row["version"] is not None for row in groups):
        columns.append(("Ver.", "right", "version"))
    columns.append(("Count", "right", "count"))
    if any(row["data_types"] for row in groups):
        columns += [("Types", "left", "data_types")]
        if width() >= 90:
            columns += [("Computes in", "left", "computes_in")]
    columns += [("Params", "right", "parameters"), ("MACs", "right", "macs")]
    if any(row["delegated"] is not None for row in groups):
        columns.append(((found.engine.delegate if found.engine else "") or "Delegate", "right", "delegated"))
    rows = [[_cell(row, key) for _, _, key in columns] for row in groups]
    return table([(name, justify) for name, justify, _ in columns], rows)


def nodes_table(found: Inspection) -> Table:
    """Every operation in execution order."""
    columns = [("#", "right"), ("Operation", "left"), ("Name", "left"), ("Types", "left"), ("Params", "right")]
    rows = [
        [str(i), n.operation, n.name, n.data_types, count(n.parameters), count(n.macs), n.becomes]
        for i, n in enumerate(found.nodes)
    ]
    columns += [("MACs", "right"), ("Becomes", "left")]
    shown = len(columns) if found.islands else len(columns) - 1
    return table(columns[:shown], [row[:shown] for row in rows])


def weights_table(found: Inspection) -> Table:
    """The largest constants in the file."""
    rows = [
        (w.name.partition(";")[0], "x".join(map(str, w.shape)), w.dtype, size(w.size_bytes), f"{100 * share:.1f}")
        for w in found.weights[:LARGEST]
        for share in [w.size_bytes / found.size_bytes]
    ]
    columns = [("Tensor", "left"), ("Shape", "left"), ("Type", "left"), ("Size", "right"), ("% of file", "right")]
    return table(columns, rows)


def _cell(row: dict[str, Any], key: str) -> str | Text:
    value = row[key]
    if key == "delegated":
        text = f"{value}/{row['count']}"
        return Text(text, style="" if value == row["count"] else "yellow")
    if key in ("parameters", "macs"):
        return count(value)
    return "" if value is None else str(value)


def _sizes(found: Inspection) -> str:
    parts = (("weights", found.weights_bytes), ("metadata", found.metadata_bytes), ("the rest", found.rest_bytes))
    return f"{size(found.size_bytes)}: " + ", ".join(f"{name} {size(n)}" for name, n in parts if n)


def _contract(found: Inspection) -> str:
    contract = found.contract
    if contract is None:
        known = ", ".join(f"{k} {len(v) if k == 'labels' else v}" for k, v in found.metadata.items() if k != "notes")
        return f"none; other metadata: {known}" if known else "none: not made by edgepress"
    accuracy = f", source model {100 * contract.test_accuracy:.2f} %" if contract.test_accuracy is not None else ""
    data = f", trained on {contract.data.source}" if contract.data else ""
    if contract.task == "none":
        proof = contract.verification
        error = f", largest error {proof.max_error:.3g}, largest output {proof.largest:.3g}" if proof else ""
        return f"{contract.scheme}, no labels, outputs {'x'.join(map(str, contract.output_shape))}{error}"
    return f"{contract.scheme}, {contract.task} of {len(contract.labels)} classes{data}{accuracy}"


def _front_end(found: Inspection) -> str:
    """What makes frames of sound for the model."""
    sound = found.contract.sound if found.contract else None
    if sound is None:
        return ""
    steps = ["logarithm"]
    if isinstance(sound, SoundFeatures):
        steps = ["noise reduction", *["PCAN"] * sound.pcan, *["logarithm"] * sound.log]
    bounds = f"{sound.lower_hz:g} to {sound.upper_hz:g} Hz"
    time = f"{sound.window_ms} ms every {sound.step_ms} ms"
    return (
        f"{sound.kind}: {sound.rate:,} Hz, {time}, {plural(sound.channels, 'channel')} of {bounds}; {', '.join(steps)}"
    )


def _target(found: Inspection) -> str:
    if found.contract is None:
        return ""
    rewrites = ", ".join(found.contract.rewrites)
    return f"{found.contract.target}{f'; rewritten: {rewrites}' if rewrites else ''}"


def _tuning(found: Inspection) -> str:
    """What was done to keep accuracy. A contract may hold anything there: only what is as we write it is shown."""
    tuning = found.contract.compression if found.contract else {}
    stages = [stage for stage in tuning.get("repairs") or () if isinstance(stage, dict)]
    parts = [str(stage.get("name")) for stage in stages if stage.get("kept")]
    if isinstance(methods := tuning.get("calibration"), dict):
        parts.append(str(methods.get("what")))
    if found.contract and found.contract.ranges:
        parts.append(f"{len(found.contract.ranges)} learned ranges")
    return ", ".join(parts)


def _islands(found: Inspection) -> str:
    """Float operations between those of integers, and what the CPU delegate makes of them."""
    parts = (
        f"{', '.join(f'{kind} ({n})' for kind, n in kinds.items())} as {name}{'s' if sum(kinds.values()) > 1 else ''}"
        for name, kinds in found.islands.items()
    )
    return "; ".join(parts)


def _port(port: Port) -> str:
    shape = "unknown shape" if port.shape is None else "x".join("?" if n is None else str(n) for n in port.shape)
    scale = "" if port.scale is None else f", scale {port.scale:.6g}, zero point {port.zero_point}"
    return f"{port.name}: {shape or 'scalar'} {port.dtype}{scale}"


def _macs(found: Inspection) -> str:
    missing = f"; not counted: {_some(found.macs_not_counted)}" if found.macs_not_counted else ""
    return f"{found.macs:,}{missing}" if found.macs or missing else "0"


def _memory(found: Inspection) -> str:
    if found.peak_activation_bytes is None:
        return "unknown"
    unpacked = f"; weights unpacked to float: {size(found.unpacked_weights_bytes)}"
    where = f" of activations{f', at {found.peak_node}' if found.peak_node else ''}"
    return f"{size(found.peak_activation_bytes)}{where}{unpacked if found.unpacked_weights_bytes else ''}"


def _precision(found: Inspection) -> str | Text:
    counts = Counter(n.computes_in for n in found.nodes if n.computes_in not in ("constant", "conversion", "other", ""))
    text = Text(", ".join(f"{kind} ({n})" for kind, n in counts.most_common()))
    if found.still_float:
        text.append(f"; still float: {_some(found.still_float)}", style="yellow")
    return text


def _runtime(found: Inspection) -> str | Text:
    runtime = found.runtime
    if runtime is None:
        return ""
    if runtime.unknown:
        return Text(f"no known release: {_some(runtime.unknown)}", style="red")
    text = Text(f"TensorFlow Lite {runtime.releases['tensorflow_lite']}; " if found.format == "tflite" else "")
    names = [(label, runtime.releases[name]) for name, label in TFLITE_RUNTIMES.items() if name in runtime.releases]
    for i, (label, release) in enumerate(names):
        text.append(", " if i else "")
        text.append(f"{label} {release}" if release else f"no {label}", style="" if release else "yellow")
    text.append(f" or newer (for {_some(runtime.because)})")
    return text


def _engine(found: Inspection) -> str | Text:
    engine = found.engine
    if engine is None:
        return ""
    if not engine.opens:
        return Text(f"not by {engine.name}: {engine.error}", style="red")
    delegated = [n.delegated for n in found.nodes if n.delegated is not None]
    if not delegated:
        return engine.name
    parts = f" in {plural(engine.partitions, 'part')}" if engine.partitions else ""
    left = [n.operation for n in found.nodes if n.delegated is False]
    kept = f"; left to the interpreter: {_some(list(dict.fromkeys(left)))}" if left else ""
    return f"{engine.name}: {engine.delegate or 'no delegate'} takes {sum(delegated)} of {len(delegated)}{parts}{kept}"


def _microcontroller(found: Inspection) -> str | Text:
    check = found.microcontroller
    if check is None:
        return ""
    if not check.opens:
        return Text(f"not by {check.name}: {check.error}", style="red")
    return check.name if check.arena_bytes is None else f"{check.name}: arena {size(check.arena_bytes)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


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
    from edgepress.toolkit.conversion.inspection import inspect as work

    inspection = work(file, size=size, trust=trust)
    if json_output:
        screen.document(inspection.as_dict())
        return
    parts = [summary_table(inspection), operations_table(inspection), weights_table(inspection)]
    for part in [*parts, *([nodes_table(inspection)] if nodes else [])]:
        screen.show(part)
        screen.say()
    screen.note(*inspection.notes)
