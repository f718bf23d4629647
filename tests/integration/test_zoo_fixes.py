"""What the zoo (benchmarks/accuracy/zoo.py) found, shown on the smallest net that has it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime import load
from edgepress.runtime.errors import ModelFileError

UNVERIFIED = replace(MINMAX, verify=False)


@pytest.mark.slow
def test_gelu_and_grouped_convolutions_go_to_both_formats(tmp_path: Path) -> None:
    """ConvNeXt's exact GELU has Erfc, which tf2onnx does not know; its depthwise convolution, a Conv2D in which every
    channel is a group, is a function compiled by XLA, which stayed a call in the frozen graph. Other groups are too."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3)(layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    x = layers.Activation("gelu")(layers.Conv2D(8, 3, groups=8)(x))
    x = layers.Conv2D(12, 3, groups=2, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))
    model.save(tmp_path / "net.keras")
    # "multilabel", so that the runtime gives the outputs as they are.
    guess = guess_contract(ModelFacts((12, 12, 3), 5), Hints(task="multilabel"))
    items = seeded_items(guess.contract.input)
    with Conversion(tmp_path / "net.keras") as conversion:
        variants = conversion.run(
            ["tflite-float32", "onnx-float32", "onnx-int8"],
            guess.contract,
            adapter=guess.adapter,
            calibration=partial(list, [items]),
            out=tmp_path,
            how=UNVERIFIED,
        )
    truth = model(items.astype(np.float32)).numpy()
    spread = truth.std(0).mean()
    for variant, allowed in zip(variants, (1e-5, 1e-5, 0.2), strict=True):
        assert variant.path is not None, variant.error
        error = np.abs(load(variant.path).scores(items) - truth).max()
        assert error < allowed * spread, variant.scheme


@pytest.mark.slow
def test_hard_sigmoid_leaves_no_transposes_in_onnx(tmp_path: Path) -> None:
    """MobileNetV3's squeeze-and-excite adds a scalar behind a convolution, over which tf2onnx fails."""
    import keras
    import onnx

    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3)(inputs)
    gate = layers.Conv2D(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = x * (layers.ReLU(6.0)(gate + 3.0) * (1 / 6))
    keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x))).save(tmp_path / "net.keras")
    guess = guess_contract(ModelFacts((12, 12, 3), 5), Hints(task="multilabel"))
    with Conversion(tmp_path / "net.keras") as conversion:
        (variant,) = conversion.run(
            ["onnx-float32"], guess.contract, adapter=guess.adapter, calibration=None, out=tmp_path, how=UNVERIFIED
        )
    assert variant.path is not None, variant.error
    operations = [node.op_type for node in onnx.load(variant.path).graph.node]
    assert operations.count("Conv") == 2
    assert operations.count("Transpose") == 1  # from NHWC, at the input


@pytest.mark.parametrize("what", ["a tensor that is not there", "a version that no kernel has"])
def test_damage_behind_the_flatbuffer_is_a_model_file_error(what: str, run: Any, tmp_path: Path) -> None:
    """benchmarks/faults/corrupted_files.py found bytes that flatbuffers reads and LiteRT refuses."""
    from ai_edge_litert import schema_py_generated as fb

    model = fb.ModelT.InitFromObj(fb.Model.GetRootAs(run.variants["tflite-float32"].read_bytes(), 0))
    if what == "a tensor that is not there":
        model.subgraphs[0].operators[1].outputs = [10_000]
    else:
        model.operatorCodes[0].version = 99
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "damaged.tflite").write_bytes(builder.Output())
    with Conversion(tmp_path / "damaged.tflite") as conversion, pytest.raises(ModelFileError, match="damaged"):
        _ = conversion.facts
