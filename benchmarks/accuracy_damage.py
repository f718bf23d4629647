"""The row `damage` of `accuracy.py`: does `diagnose` name first the layer that was damaged on purpose?

Half of the cases are nets with one channel multiplied by 64 and its readers divided (`damaged_nets.channel_scaled`),
converted without repairs; half are int8 files with one range ten times too wide (`range_widened`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from accuracy_graph import BATCH, float_graph
from accuracy_lines import Line, note
from accuracy_nets import Net, Place, alone, nets
from accuracy_peers import calibration

NETS = ("lenet-mnist", "resnet8-mnist", "mobilenet-v2-signs", "mobilenet-v3-small-signs", "separable-a")
CASES = 20


def damage(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Twenty cases, then how many were named first."""
    chosen = list(nets(NETS, place, wanted))
    named = total = 0
    for case in range(CASES):
        net, kind = chosen[case % len(chosen)], ("channel", "range")[case // len(chosen) % 2]
        found = alone(_case, net, kind, case)
        if found is None:
            yield note(f"    {net.name:26} {kind:8} no layer can be damaged so")
            continue
        layer, model, file = found
        first, error = _diagnosed(model, file, net.data)
        named, total = named + (first == layer), total + 1
        what = "named first" if first == layer else f"named first is {first or error}"
        yield note(f"    {net.name:26} {kind:8} seed {case:2} {layer}: {what}")
    yield Line(f"    {named} of {total} named first", "" if named == total == CASES else f"asked {CASES} of {CASES}")


def _case(net: Net, kind: str, seed: int) -> tuple[str, Path, Path] | None:
    """The damaged layer, the float model and the int8 file; None if there is no such layer."""
    from damaged_nets import channel_scaled, range_widened

    from edgepress.converters.calibration import tflite_ranges
    from edgepress.converters.graph.program import Program
    from edgepress.converters.schemes import SCHEMES
    from edgepress.converters.to_tflite.convert import with_scheme
    from edgepress.toolkit import convert

    flat, _ = float_graph(net.model)
    items: npt.NDArray[np.float32] = calibration(net).astype(np.float32)
    folder = net.folder / "damage" / f"{kind}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    model, file = folder / "model.tflite", folder / "model-int8.tflite"
    if kind == "channel":
        made = channel_scaled(flat, items, seed=seed)
        if made is None:
            return None
        model.write_bytes(made[0])
        (variant,) = convert(model, "tflite-int8", data=str(net.data), out=folder, verify=False, repairs=False)
        assert variant.path is not None, variant.error
        return made[1].layer, model, variant.path
    model.write_bytes(flat)
    batches = partial(list, [items[i : i + BATCH] for i in range(0, len(items), BATCH)])
    ranges, damaged = range_widened(Program(flat), tflite_ranges(flat, batches, (0.0, 255.0)), seed=seed)
    file.write_bytes(with_scheme(flat, SCHEMES["tflite-int8"], ranges, uint8=True))
    return damaged.layer, model, file


def _diagnosed(model: Path, file: Path, data: Path) -> tuple[str, str]:
    """The layer that `diagnose` names first, or its error."""
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "diagnose", str(model), str(file)]
    done = subprocess.run([*command, "--data", str(data), "--json"], capture_output=True, text=True, check=False)
    try:
        return str(json.loads(done.stdout)["layers"][0]["name"]), ""
    except (ValueError, KeyError, IndexError):
        return "", " ".join((done.stdout + done.stderr).split())[-200:]
