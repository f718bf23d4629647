"""Files of float16 that ONNX Runtime opens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.quantize import with_scheme


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
    half = tmp_path / "half.onnx"
    onnx.save(with_scheme(net.model(), SCHEMES["onnx-float16"], list, None), half)
    opens = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1])"
    assert subprocess.run([sys.executable, "-c", opens, half], check=False, timeout=60).returncode == 0
