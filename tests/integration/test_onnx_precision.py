"""Products of 8 bits in ONNX Runtime and OpenVINO: exact on x86 without VNNI, fast where there is VNNI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet, answer

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.quantize import with_scheme
from edgepress.runtime import available_engines, openvino_session, sessions
from edgepress.runtime.engines import import_engine

OPTION = "session.x64quantprecision"


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", "flags : sse4_2 avx2 fma", True),
        ("AMD64", "flags : avx2 avx512f avx512bw", True),
        ("x86_64", "flags : avx2 avx512f avx512_vnni", False),
        ("x86_64", "flags : avx2 avx_vnni", False),
        ("x86_64", None, True),
        ("aarch64", "Features : fp asimd", False),
        ("arm64", None, False),
        ("armv7l", "Features : neon", False),
    ],
)
def test_which_cpus_saturate(machine: str, flags: str | None, saturates: bool, monkeypatch: Any) -> None:
    def read(self: Path, **options: Any) -> str:
        if flags is None:
            raise FileNotFoundError
        return flags

    monkeypatch.setattr(sessions.platform, "machine", lambda: machine)
    monkeypatch.setattr(sessions.Path, "read_text", read)
    assert sessions.products_saturate() is saturates


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_files_open_and_answer_on_every_cpu(saturates: bool, signed: bool, monkeypatch: Any, capfd: Any) -> None:
    """ONNX Runtime 1.32 refuses the option for signed activations."""
    monkeypatch.setattr(sessions, "products_saturate", lambda: saturates)
    dtype, zero = (np.int8, 0) if signed else (np.uint8, 128)
    net = OnnxNet((16, 4, 4))
    for _ in range(2):
        value = net.quantized(0.1, zero, dtype)
        weights = net.random.integers(-127, 128, (16, 16, 1, 1)).astype(np.int8)
        w = net.add("DequantizeLinear", net.constant(weights), np.float32(0.002), np.int8(0))
        net.add("Conv", value, w)
    net.quantized(0.1, zero, dtype)
    session = sessions.onnx_session(onnxruntime, net.model().SerializeToString(), log_severity_level=3)
    assert capfd.readouterr().err == ""
    assert np.isfinite(session.run(None, {"input": net.items()})[0]).all()
    if not signed:
        assert _entry(session.get_session_options()) == ("1" if saturates else "")


@pytest.mark.skipif("openvino" not in available_engines(), reason="OpenVINO is not installed")
@pytest.mark.parametrize("saturates", [True, False])
def test_openvino_computes_in_float_where_products_saturate(saturates: bool, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(openvino_session, "products_saturate", lambda: saturates)
    net = OnnxNet((16, 4, 4))
    for _ in range(2):
        value = net.quantized(0.05, 0)
        weights = net.random.integers(60, 128, (16, 16, 1, 1)).astype(np.int8)  # sums of two exceed 16 bits
        net.add("Conv", value, net.add("DequantizeLinear", net.constant(weights), np.float32(0.001), np.int8(0)))
    net.quantized(0.05, 0)
    path = tmp_path / "net.onnx"
    onnx.save(net.model(), path)
    session = openvino_session.OpenVinoSession(path, import_engine("openvino"), threads=1)
    items = np.abs(net.items()) * 8
    found = session.run(items)
    assert (openvino_kinds(session) == {"f32"}) is saturates
    if saturates:
        exact = sessions.onnx_session(onnxruntime, net.model().SerializeToString()).run(None, {"input": items})[0]
        np.testing.assert_allclose(found.ravel(), exact.ravel(), atol=0.051)  # one step


def openvino_kinds(session: Any) -> set[str]:
    """In which types the convolutions of a file compute."""
    operations = session._request.get_compiled_model().get_runtime_model().get_ops()
    infos = [operation.get_rt_info() for operation in operations]
    return {info["runtimePrecision"].value for info in infos if info["layerType"].value == "Convolution"}


@pytest.mark.parametrize("kind", ["Conv", "MatMul", "Gemm", "InstanceNormalization"])
def test_layers_that_share_weights_open_with_the_option(kind: str, monkeypatch: Any) -> None:
    """ONNX Runtime 1.32 refuses the option for shared weights, as of CBAM's attention and of group normalizations.

    Only small ones are copied.
    """
    net = OnnxNet((16, 4, 4) if kind in ("Conv", "InstanceNormalization") else (16,))
    shape = {"Conv": (16, 16, 1, 1), "InstanceNormalization": (16,)}.get(kind, (16, 16))
    first = {"Conv": (16, 16, 7, 7), "InstanceNormalization": (16, 16, 7, 7)}.get(kind, (16, 16))
    for _ in range(40 if len(first) == 2 else 1):
        pads = {"pads": [3, 3, 3, 3]} if len(first) == 4 else {}
        net.add("Conv" if pads else "MatMul", (net.random.normal(size=first) / 8).astype(np.float32), **pads)
    weights = net.constant(net.random.normal(size=shape).astype(np.float32))
    for _ in range(3):
        biases = [np.zeros(16, np.float32)] if kind == "InstanceNormalization" else []
        net.add(kind, net.now, weights, *biases)
        net.add("Relu")
    file = with_scheme(net.model(), SCHEMES["onnx-int8"], lambda: [net.items(8)], None, rewrites=["uint8-activations"])
    monkeypatch.setattr(sessions, "products_saturate", lambda: True)
    session = sessions.onnx_session(onnxruntime, file.SerializeToString(), log_severity_level=3)
    assert _entry(session.get_session_options()) == "1"
    items = net.items()
    exact = answer(file, items, optimized=False)
    np.testing.assert_allclose(
        session.run(None, {"input": items})[0], exact, rtol=0.02, atol=0.02 * np.abs(exact).max()
    )


def test_large_shared_weights_are_stored_once() -> None:
    net = OnnxNet((96,))
    weights = net.constant((net.random.normal(size=(96, 96)) / 8).astype(np.float32))
    for _ in range(6):
        net.add("MatMul", net.now, weights)
        net.add("Relu")
    model = net.model()
    file = with_scheme(model, SCHEMES["onnx-int8"], lambda: [net.items(8)], None, rewrites=["uint8-activations"])
    assert file.ByteSize() < 0.5 * model.ByteSize()


def test_a_file_that_does_not_open_with_the_option_is_computed_in_float(monkeypatch: Any) -> None:
    """Of others: two convolutions with the same 8-bit weights, whose products would saturate."""
    monkeypatch.setattr(sessions, "products_saturate", lambda: True)
    net = OnnxNet((16, 4, 4))
    weights = net.constant(net.random.integers(60, 128, (16, 16, 1, 1)).astype(np.int8))
    for _ in range(2):
        value = net.quantized(0.1, 0, np.int8)
        net.add("Conv", value, net.add("DequantizeLinear", weights, np.float32(0.001), np.int8(0)))
    net.quantized(0.1, 0, np.int8)
    items = np.abs(net.items()) * 2
    exact = answer(net.model(), items, optimized=False)
    session = sessions.onnx_session(onnxruntime, net.model().SerializeToString(), log_severity_level=4)
    assert _entry(session.get_session_options()) == ""
    np.testing.assert_array_equal(session.run(None, {"input": items})[0], exact)
    assert exact.std() > 0.1


def test_a_damaged_file_is_refused_either_way(monkeypatch: Any) -> None:
    monkeypatch.setattr(sessions, "products_saturate", lambda: True)
    with pytest.raises(Exception, match=r"(?i)protobuf|parse|invalid"):
        sessions.onnx_session(onnxruntime, b"no model")


def _entry(options: Any) -> str:
    try:
        return str(options.get_session_config_entry(OPTION))
    except RuntimeError:
        return ""
