"""Files of float16 that ONNX Runtime opens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.contract.hints import Hints
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.quantize import with_scheme
from edgepress.toolkit.conversion.convert import convert


def opens(net: OnnxNet, half: Path) -> bool:
    """Whether another process opens the float16 file of a net."""
    onnx.save(with_scheme(net.model(), SCHEMES["onnx-float16"], list, None), half)
    program = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1])"
    return subprocess.run([sys.executable, "-c", program, half], check=False, timeout=60).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", [[1, 2, 0], [1, 0, 2]])
@pytest.mark.parametrize("before", ["LayerNormalization", "Gather", "Transpose"])
def test_float16_products_with_turned_factors_open(tmp_path: Path, before: str, order: list[int]) -> None:
    """ONNX Runtime crashed when it opened the file, as of nets that keep items behind places, so none was made."""
    net = OnnxNet((1, 4))
    net.add("Reshape", np.array([4, 1, 4]))
    net.add("Relu")
    if before == "LayerNormalization":
        net.add(before, np.ones(4, np.float32))
    else:
        net.add("Gather", np.array([2, 1, 0, 3]), axis=0)
    if before == "Transpose":
        net.add(before, perm=[1, 0, 2])
        net.add(before, perm=[1, 0, 2])
    net.add("Transpose", perm=order)
    net.add("MatMul", net.random.normal(size=(4, 3)).astype(np.float32))
    assert opens(net, tmp_path / "half.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("between", ["Mul", "Div", "Identity", "Dropout", "Concat"])
def test_float16_products_of_turned_values_open(tmp_path: Path, between: str) -> None:
    """Such as attention with scaled queries: it crashed when only Transposes that products read stayed in float32."""
    net = OnnxNet((1, 4))
    net.add("Reshape", np.array([4, 1, 4]))
    net.add("Gather", np.array([2, 1, 0, 3]), axis=0)
    turned = net.add("Transpose", perm=[1, 0, 2])
    more: dict[str, Any] = {"Mul": [np.float32(0.5)], "Div": [np.float32(2)], "Concat": [turned, turned]}
    net.add(between, *more.get(between, []), **({"axis": 1} if between == "Concat" else {}))
    net.add("MatMul", net.random.normal(size=(4, 3)).astype(np.float32))
    assert opens(net, tmp_path / "half.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "status"), [(1.0, "ok"), (300.0, "failed")])
def test_a_file_without_answers_to_white_images_is_refused(tmp_path: Path, scale: float, status: str) -> None:
    """The items of the proof are dark: only white ones, at 300 times 255, are infinite in float16."""
    net = OnnxNet((3, 8, 8))
    net.add("Mul", np.array(scale, np.float32))
    net.add("Flatten")
    net.add("LayerNormalization", np.ones(192, np.float32))
    net.add("Gemm", net.random.normal(0, 0.1, (192, 4)).astype(np.float32), np.zeros(4, np.float32))
    net.add("Softmax", axis=1)
    onnx.save(net.model(), tmp_path / "net.onnx")
    items = net.random.integers(0, 99, (2, 40, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(40) % 4
    np.savez(tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=labels, y_test=labels)
    hints = Hints(input_range="0,255", color="rgb")
    (variant,) = convert(
        tmp_path / "net.onnx", "onnx-float16", data=tmp_path / "data.npz", hints=hints, out=tmp_path / "out"
    )
    assert variant.status == status
    assert ("for a black or a white image" in variant.error) == (status == "failed")
