"""Rows of `accuracy.py` for the float graph that both formats are made from: `simulation` and `zoo`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.options.conversion import ConversionOptions

sys.path.append(str(Path(__file__).parents[1] / "shared"))

import rewrite_nets
import zoo_models
from accuracy_lines import Line, note
from accuracy_nets import TRAINED, Place, alone, nets

Array = npt.NDArray[Any]
ZOO = ("MobileNetV3Small", "MobileNetV2", "EfficientNetV2B0", "NASNetMobile", "ConvNeXtTiny", "DenseNet121", "ResNet50")
ZOO_SIDE = 64
"""One of each family; the height and width of their images. Families with random weights."""
MISSES = {"EfficientNetB3": 96, "EfficientNetB4": 96, "EfficientNetB5": 96, "EfficientNetB6": 64, "EfficientNetB7": 64}
MISSES |= {"EfficientNetV2M": 64, "EfficientNetV2L": 64}
"""The models whose int8 files are too noisy (`zoo.py`), and the height and width of their images here."""
PASSING = dict.fromkeys((*ZOO, "MobileNet", "MobileNetV3Large", "EfficientNetB0", "VGG16"), ZOO_SIDE)
PASSING |= {"Xception": 96, "InceptionV3": 96}
"""Models whose files pass the proof without repairs: at least one of each family."""
CELLS = ("tflite-dynamic", "tflite-int8", "tflite-int16x8", "onnx-dynamic", "onnx-int8")
"""The quantized schemes of `zoo.py`."""
SCHEMES = ("tflite-int8", "tflite-int4")
AGREEMENT, STEPS, FLOAT_ERROR = 0.995, 1.0, 1e-5
ITEMS = 400
"""Test items of a trained net; random nets have fewer."""
BATCH = 50
WORSE_DB = 0.3
WAYS = {
    "minmax": ConversionOptions(repairs=False, calibration="minmax", verify=False),
    "repaired": ConversionOptions(verify=False),
}


def simulation(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Simulated programs beside real files: top labels, mean steps of the output; the float program beside LiteRT."""
    jobs: list[tuple[str, Path | None]] = [(net.name, net.model) for net in nets(TRAINED, place, wanted)]
    jobs += [(name, None) for name in ZOO if not wanted or any(word in name for word in wanted)]
    for name, model in jobs:
        items: list[Array | None] = [None, None]
        if model is not None:
            net = next(nets([name], place))
            items = [net.split("train")[0][:200], net.split("test")[0][:ITEMS]]
        for scheme, found in alone(_simulated, name, model, *items).items():
            if isinstance(found, str):
                yield note(f"    {name:26} {scheme:12} {found}")
                continue
            broken = []
            if scheme == "float":
                text = f"largest error {found[0]:.1e} of the largest answer"
                broken = [f"limit {FLOAT_ERROR:g}"] if found[0] > FLOAT_ERROR else []
            else:
                agreement, steps, count = found
                text = f"{agreement:.2%} of {count} top labels, {steps:.3f} steps on average"
                # Of few items, one may differ: two answers of the real file are then within a step of each other.
                broken += [f"limit {AGREEMENT:.1%}"] if agreement < min(AGREEMENT, 1 - 1 / count) else []
                broken += [f"limit {STEPS:g} step"] if steps > STEPS else []
            yield Line(f"    {name:26} {scheme:12} {text}", "; ".join(broken))


def _simulated(name: str, model: Path | None, calibration: Array | None, test: Array | None) -> dict[str, Any]:
    """Of the float graph its error, and of each scheme agreement, mean steps and items, or why there is none."""
    from edgepress.converters.graph.program import Program, UnknownOperationError

    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            model = Path(folder) / "model.keras"
            zoo_models.build(name, ZOO_SIDE, images=rewrite_nets.SHOWN).save(model)
        flat, spec = float_graph(model)
    if calibration is None or test is None:
        from edgepress.converters.proof.compare import seeded_items

        calibration, test = (
            seeded_items(spec, n, seed=s) for n, s in ((100, zoo_models.CALIBRATION), (64, zoo_models.PROOF))
        )
    found: dict[str, Any] = {}
    try:
        program = Program(flat)
        real = _litert(flat, test.astype(np.float32))
        found["float"] = (float(np.abs(program.answers(test) - real).max() / np.abs(real).max()),)
        for scheme in SCHEMES:
            try:
                found[scheme] = _beside(flat, scheme, calibration, test)
            except (ImportError, KeyError) as e:
                found[scheme] = f"is not there yet: {e}"
    except UnknownOperationError as e:
        found["float"] = f"unknown operation: {e}"
    return found


def _beside(flat: bytes, name: str, calibration: Array, test: Array) -> tuple[float, float, int]:
    """Agreement of top labels between simulation and file, their mean distance in output steps, and the items."""
    from edgepress.converters.calibration import tflite_statistics
    from edgepress.converters.graph.program import Program
    from edgepress.converters.graph.simulate import Simulation
    from edgepress.converters.graph.tflite_scales import scales_of_tflite
    from edgepress.converters.rewrites.table import rewrites_for, rewritten_tflite
    from edgepress.converters.schemes import SCHEMES as TABLE
    from edgepress.converters.to_tflite.convert import with_scheme

    scheme, limits = TABLE[name], (0.0, 255.0)
    batches = partial(list[Array], [calibration[i : i + BATCH] for i in range(0, len(calibration), BATCH)])
    before, recipe, after = (rewrites_for(scheme, "cpu", stage) for stage in ("float", "recipe", "quantized"))
    model, _ = rewritten_tflite(flat, before)
    ranges = tflite_statistics(model, batches, limits).ranges()
    chosen = rewritten_tflite(model, recipe)[1]
    file = with_scheme(model, scheme, ranges, chosen, uint8=True)
    simulated = Simulation(Program(model), scales_of_tflite(Program(model), file)).answers(test)
    real, step = _litert_steps(rewritten_tflite(file, after)[0], test)
    steps = float(np.abs(simulated - real).mean() / step)
    return float(np.mean(simulated.argmax(1) == real.argmax(1))), steps, len(test)


def float_graph(model: Path) -> tuple[bytes, Any]:
    """The float `.tflite` graph of a model, and its input."""
    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.guess import guess_contract
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.sources.open import open_source

    source = open_source(model)
    if source.facts.contract is not None:
        contract = source.facts.contract
        return source.tflite(InputAdapter.of(contract)), contract.input
    guess = guess_contract(source.facts, Hints(task="multilabel"))
    return source.tflite(guess.adapter), guess.contract.input


def _litert(model: bytes, items: Array) -> npt.NDArray[np.float32]:
    """LiteRT's answers of a float graph of batch 1."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for item in items:
        interpreter.set_tensor(source["index"], item[np.newaxis].astype(source["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(sink["index"])[0].ravel().copy())
    return np.array(found)


def _litert_steps(model: bytes, items: Array) -> tuple[npt.NDArray[np.float32], float]:
    """LiteRT's answers of a quantized file as real numbers, and the size of a step of its output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    scale, zero = interpreter.get_output_details()[0]["quantization"]
    found = _litert(model, items)
    return (found.astype(np.float32) - zero) * np.float32(scale), float(scale)


def _onnxruntime(model: Any, items: Array) -> npt.NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    dtype = np.uint8 if "uint8" in source.type else np.float32
    found = [session.run(None, {source.name: item[np.newaxis].astype(dtype)})[0].ravel() for item in items]
    return np.array(found, np.float32)


def zoo(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Signal to noise of quantized files without repairs and with: models that int8 ruins, and others, for no loss."""
    for name, side in (MISSES | PASSING).items():
        if wanted and not any(word in name for word in wanted):
            continue
        kept = place.cache / "zoo" / f"{name}-{side}-{rewrite_nets.code_hash()}.json"
        schemes = [s for s in CELLS if name in PASSING or s.endswith("int8")]
        found = alone(_zoo_cells, name, side, schemes, kept)
        for scheme in schemes:
            cells = [found[which].get(scheme) for which in WAYS]
            if None in cells:
                yield Line(f"    {name:18} at {side} {scheme:14} no file: {found['errors']}", "no file")
                continue
            (before, agreed), (after, agree) = cells
            broken = f"{before - after:.1f} dB lost" if after < before - WORSE_DB else ""
            yield Line(
                f"    {name:18} at {side} {scheme:14} spread to noise {before:.1f} dB by min-max, "
                f"{after:.1f} dB repaired; top-1 agreement {agreed:.0%}, {agree:.0%} of 64",
                broken,
            )


def _zoo_cells(name: str, side: int, schemes: list[str], kept: Path) -> dict[str, Any]:
    """Spread to noise (dB) and top-1 agreement of each scheme's file, without repairs and with."""
    import json

    if kept.exists():
        return dict(json.loads(kept.read_text()))
    from edgepress.converters.conversion.conversion import Conversion
    from edgepress.converters.proof.compare import seeded_items
    from edgepress.runtime import load

    kept.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {which: {} for which in WAYS} | {"errors": ""}
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        path = Path(folder) / "model.keras"
        truth = alone(_zoo_model, name, side, path)
        with Conversion(path) as conversion:
            contract, adapter = rewrite_nets.contract_for(conversion)
            calibration = seeded_items(contract.input, 100, seed=zoo_models.CALIBRATION)
            items = seeded_items(contract.input, 64, seed=zoo_models.PROOF)
            batches = [calibration[i : i + 20] for i in range(0, 100, 20)]
            for which, how in WAYS.items():
                made = conversion.run(
                    schemes,
                    contract,
                    adapter=adapter,
                    calibration=partial(list, batches),
                    out=Path(folder) / which,
                    proof=items,
                    how=how,
                )
                for variant in made:
                    if variant.path is None:
                        found["errors"] += f"{variant.scheme}: {variant.error} "
                        continue
                    scores = load(variant.path).scores(items)
                    noise = np.square(scores.astype(np.float64) - truth).sum()
                    spread = np.square(truth - truth.mean(0), dtype=np.float64).sum()
                    agreed = float(np.mean(scores.argmax(1) == truth.argmax(1)))
                    found[which][variant.scheme] = (round(float(10 * np.log10(spread / noise)), 2), agreed)
    kept.write_text(json.dumps(found))
    return found


def _zoo_model(name: str, side: int, path: Path) -> Array:
    from edgepress.converters.proof.compare import seeded_items
    from edgepress.runtime.input_spec import InputSpec

    model = zoo_models.build(name, side, images=rewrite_nets.SHOWN)
    model.save(path)
    items = seeded_items(InputSpec.image(side, side, "rgb"), 64, seed=zoo_models.PROOF)
    return np.concatenate([zoo_models.answers(model, items[i : i + 8]) for i in range(0, 64, 8)])
