"""Whether `edgepress diagnose --data` names a layer that was damaged on purpose (`damaged_nets.py`): nets and seeds.

    python benchmarks/diagnosis/diagnosed.py NET.keras=ITEMS.npz ... [--schemes tflite-int8,onnx-int8] [--seeds 20]

Each net is a `.keras` file of edgepress with an `.npz` of items, "calibration" and "test". A table says for how many
seeds the damaged layer is named first, and the places at which it is named otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from damaged_nets import channel_scaled, onnx_widened, ranged, tflite_widened

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.diagnosis.files import OnnxFile, TFLiteFile
from edgepress.converters.diagnosis.layers import measure_layers
from edgepress.converters.diagnosis.matched import Matched
from edgepress.converters.diagnosis.matching import match_by_name, match_by_reference
from edgepress.converters.graph.program import Program
from edgepress.converters.rewrites.table import rewrites_for, rewritten_onnx, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import convert as to_tflite

Array = npt.NDArray[Any]
PIXELS = (0.0, 255.0)
SCHEMES_OF = {"channel": ("tflite-int8", "onnx-int8", "tflite-dynamic"), "range": ("tflite-int8", "onnx-int8")}
"""Schemes in which a kind of damage does harm: others have no range in the file, or one for each value."""
MEASURED = 24
"""Items on which layers are measured."""


def float_graph(model: Path) -> tuple[bytes, InputAdapter]:
    """The float `.tflite` of a model of edgepress, and its adapter."""
    source = open_source(model)
    assert source.facts.contract is not None
    adapter = InputAdapter.of(source.facts.contract)
    return source.tflite(adapter), adapter


def quantized_tflite(graph: bytes, scheme: Scheme, items: Array, widen: int | None) -> tuple[Program, Matched, str]:
    """A TFLite file of a float graph, seen by it; with the range of a layer widened, which `widen` chooses."""
    model, _ = rewritten_tflite(graph, rewrites_for(scheme, "cpu", "float"))
    _, recipe = rewritten_tflite(model, rewrites_for(scheme, "cpu", "recipe"))
    ranges = tflite_statistics(model, lambda: [items], PIXELS).ranges() if scheme.calibrated else None
    file = to_tflite.with_scheme(model, scheme, ranges, recipe, uint8=True)
    file, _ = rewritten_tflite(file, rewrites_for(scheme, "cpu", "quantized"))
    program, layer = Program(model), ""
    if widen is not None:
        names = ranged(program, TFLiteFile(file).roundings)
        layer = names[widen % len(names)]
        file = tflite_widened(file, layer)
    return program, match_by_name(program, TFLiteFile(file)), layer


def quantized_onnx(
    graph: bytes, scheme: Scheme, items: Array, widen: int | None, adapter: InputAdapter
) -> tuple[Program, Matched, str]:
    """The same of an ONNX file."""
    bare = InputAdapter(adapter.item, adapter.item.shape)
    model, _ = rewritten_onnx(
        interface.prepend_adapter(float_onnx_of(graph), bare), rewrites_for(scheme, "cpu", "float")
    )
    _, recipe = rewritten_onnx(model, rewrites_for(scheme, "cpu", "recipe"))
    file = to_onnx.with_scheme(model, scheme, lambda: [items], PIXELS, rewrites=recipe)
    file, _ = rewritten_onnx(file, rewrites_for(scheme, "cpu", "quantized"))
    program, reference, layer = Program(graph), OnnxFile(to_onnx.prepare_model(model)), ""
    few = items[:4]
    graph_values = {name: np.asarray(value) for name, value in program.run(few.astype(program.dtype)).items()}
    reference_values = reference.values(few, reference.names)
    held = match_by_reference(
        program, OnnxFile(file), reference, graph_values=graph_values, reference_values=reference_values
    )
    if widen is not None:
        names = ranged(program, held.roundings)
        layer = names[widen % len(names)]
        file = onnx_widened(file, held.tensors[layer])
        held = match_by_reference(
            program, OnnxFile(file), reference, graph_values=graph_values, reference_values=reference_values
        )
    return program, held, layer


def places(
    graph: bytes, adapter: InputAdapter, scheme: str, kind: str, calibration: Array, items: Array, seeds: int
) -> Iterator[int]:
    """The place at which each seed's damaged layer is named, from 1 on; 0 if it is not named."""
    for seed in range(seeds):
        model, layer, widen = graph, "", int(np.random.default_rng(seed).integers(1 << 16)) if kind == "range" else None
        if kind == "channel":
            damaged = channel_scaled(graph, calibration[:16], seed=seed)
            if damaged is None:
                return
            model, layer = damaged[0], damaged[1].layer
        if scheme.startswith("tflite"):
            program, held, widened = quantized_tflite(model, SCHEMES[scheme], calibration, widen)
        else:
            program, held, widened = quantized_onnx(model, SCHEMES[scheme], calibration, widen, adapter)
        names = [found.name for found in measure_layers(program, held, items[:MEASURED]).layers]
        yield names.index(layer or widened) + 1 if (layer or widened) in names else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", metavar="NET.keras=ITEMS.npz")
    parser.add_argument("--schemes", default="", help="names of schemes; by default, those in which damage does harm")
    parser.add_argument("--kinds", default="channel,range")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    missed = 0
    print(f"{'net':22} {'damage':8} {'scheme':16} named first  other places  seconds")
    for net in options.nets:
        model, _, data = net.partition("=")
        arrays = np.load(data)
        graph, adapter = float_graph(Path(model))
        for kind in options.kinds.split(","):
            for scheme in options.schemes.split(",") if options.schemes else SCHEMES_OF[kind]:
                start = time.monotonic()
                found = list(places(graph, adapter, scheme, kind, arrays["calibration"], arrays["test"], options.seeds))
                first = sum(place == 1 for place in found)
                missed += len(found) - first
                others = ", ".join(str(place) for place in found if place != 1)
                took = time.monotonic() - start
                name = Path(model).parent.name or model
                print(f"{name:22} {kind:8} {scheme:16} {first} of {len(found):<8} {others:13} {took:.0f}", flush=True)
    sys.exit(int(missed > 0))


if __name__ == "__main__":
    main()
