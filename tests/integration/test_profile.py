"""Profiles: the engines' own times, led back to the file's operations; and what the CPU can do at most."""

from __future__ import annotations

import json
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import EngineError, InputError, ModelFileError, available_engines
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.diagnosis.profiling.ceiling import measure_ceiling
from edgepress.toolkit.diagnosis.profiling.pairing import align
from edgepress.toolkit.diagnosis.profiling.plot import _paths, plot_profile
from edgepress.toolkit.diagnosis.profiling.profile import NodeTime, _operations, profile
from edgepress.toolkit.measurement.benchmarking.explain import limit_figures
from edgepress.toolkit.results.records import Ceiling, Measurement

ENGINES = [("litert", "tflite-int8"), ("litert", "tflite-int16x8"), ("onnxruntime", "onnx-float32")]
if "openvino" in available_engines():
    ENGINES.append(("openvino", "onnx-float32"))


@pytest.mark.parametrize(("engine", "scheme"), ENGINES)
def test_a_profile_tells_where_the_time_goes(engine: str, scheme: str, run: Any) -> None:
    found = profile(run.variants[scheme], engine, runs=40)
    assert found.engine == engine
    assert found.runs == 40 or (engine == "openvino" and found.runs == 20)  # counted 20 at a time; 2 s may be over
    assert sum(o.share for o in found.operations) == pytest.approx(1)
    assert sum(o.time_us for o in found.operations) == pytest.approx(sum(n.time_us for n in found.nodes))
    assert [o.time_us for o in found.operations] == sorted((o.time_us for o in found.operations), reverse=True)
    # Not the first: on a busy machine, a small layer may wait for its turn.
    assert any("conv" in o.operation.lower() for o in found.operations)
    # The kernels make up the inference: what they take is neither far less than the whole nor far more.
    kernels = sum(n.time_us for n in found.nodes)
    assert found.total_us / 3 < kernels < 5 * found.total_us
    assert found.rest_us >= 0


def test_kernels_of_the_delegate_get_the_names_of_the_files_layers(run: Any) -> None:
    found = profile(run.variants["tflite-int8"], runs=10)
    products = [(n.operation, n.delegated) for n in found.nodes if n.operation in ("CONV_2D", "FULLY_CONNECTED")]
    assert products == [("CONV_2D", True)] * 2 + [("FULLY_CONNECTED", True)] * 3
    names = [n.name for n in found.nodes if n.operation == "CONV_2D"]
    assert len(set(names)) == 2
    assert all("conv2d" in name for name in names)
    assert found.delegated_operations is not None
    assert found.file_operations is not None
    assert 0 < found.delegated_operations <= found.file_operations
    assert found.delegated_share is not None
    assert 0.5 < found.delegated_share <= 1
    plain = profile(run.variants["tflite-int16x8"], runs=10)
    assert (plain.delegated_share, plain.delegated_operations) == (0, 0)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_alignment_is_a_longest_common_subsequence(left: list[str], right: list[str]) -> None:
    pairs = align(left, right)
    assert all(left[a] == right[b] for a, b in pairs)
    assert pairs == sorted(set(pairs))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for a, x in enumerate(left):
        for b, y in enumerate(right):
            best[a + 1][b + 1] = best[a][b] + 1 if x == y else max(best[a][b + 1], best[a + 1][b])
    assert len(pairs) == best[-1][-1]


def test_what_can_not_be_profiled_says_why(run: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="tflite-runtime does not report"):
        profile(run.variants["tflite-int8"], "tflite-runtime")
    with pytest.raises(EngineError, match=r"opens \.onnx"):
        profile(run.variants["tflite-int8"], "onnxruntime")
    with pytest.raises(InputError, match="threads"):
        profile(run.variants["tflite-int8"], threads=0)
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(run.variants["tflite-int8"].read_bytes()[:3000])
    with pytest.raises((ModelFileError, EngineError)):
        profile(cut)
    with pytest.raises(InputError, match="Accepted"):
        plot_profile(profile(run.variants["tflite-int8"], runs=1), tmp_path / "p.txt")


def test_the_command_prints_one_document_and_draws(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "p.svg"
    assert cli(["profile", str(run.variants["tflite-int8"]), "--runs", "5", "--plot", str(plot), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["operations"][0]["operation"] == "CONV_2D"
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert cli(["profile", str(run.variants["tflite-int8"]), "--plot", "p.jpg", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "input"


def test_layers_are_grouped_into_blocks() -> None:
    names = ("net/stem/Relu", "net/block_1_expand/Relu", "net/block_1_project/add", "net/block_2_dw/Relu", "out")
    nodes = [NodeTime(name=n, operation="X", kernel="X", time_us=1, share=0.2, delegated=True) for n in names]
    assert _paths(nodes) == [("stem",), ("block_1", "expand"), ("block_1", "project"), ("block_2_dw",), ()]


@given(st.lists(st.tuples(st.floats(0.01, 1e6), st.sampled_from("ab")), min_size=1, max_size=30))
def test_shares_of_the_time_never_exceed_the_whole(times: list[tuple[float, str]]) -> None:
    whole = fsum(time for time, _ in times)
    nodes = [
        NodeTime(name="n", operation=kind, kernel=kind, time_us=time, share=time / whole, delegated=True)
        for time, kind in times
    ]
    rows = _operations(nodes, whole)
    assert all(0 < row.share <= 1 for row in rows)
    assert sum(row.share for row in rows) == pytest.approx(1)


CEILING = Ceiling(float32_macs_per_s=50e9, int8_macs_per_s=200e9, memory_bytes_per_s=20e9, kernels={})
ROW = Measurement(file="m", scheme="tflite-int8", engine="litert", threads=1, size_bytes=4_000_000, p50_us=1000.0)


@pytest.mark.parametrize(
    ("scheme", "engine", "share"),
    [
        ("tflite-int8", "litert", 0.5),
        ("tflite-float16", "litert", 2.0),
        ("onnx-dynamic", "onnxruntime", 0.5),
        ("onnx-dynamic", "openvino", 2.0),
        ("tflite-int16x8", "litert", None),
    ],
)
def test_a_net_is_held_against_the_ceiling_of_its_data_type(scheme: str, engine: str, share: float | None) -> None:
    row = limit_figures(replace(ROW, scheme=scheme, engine=engine), ROW.p50_us, CEILING, macs=100_000_000)
    assert (row.macs, row.macs_per_s) == (100_000_000, pytest.approx(100e9))
    assert row.compute_share == (None if share is None else pytest.approx(share))
    assert row.memory_share == pytest.approx(0.2)


def test_batches_caches_and_what_was_not_timed() -> None:
    assert limit_figures(replace(ROW, batch=4), ROW.p50_us, CEILING, macs=1_000_000).macs_per_s == pytest.approx(4e9)
    assert limit_figures(ROW, 10.0, CEILING, macs=1).memory_share is None  # faster than memory: from caches
    untimed = limit_figures(ROW, None, CEILING, macs=7)
    assert (untimed.macs, untimed.macs_per_s, untimed.compute_share) == (7, None, None)


@pytest.mark.slow
def test_the_ceiling_is_above_what_numpy_reaches_by_hand() -> None:
    import time

    ceiling = measure_ceiling(1)
    products = {"float32_macs_per_s", "int8_macs_per_s"}
    assert set(ceiling.kernels) == {*products, *(f"depthwise_{name}" for name in products), "memory_bytes_per_s"}
    a = np.random.default_rng(0).integers(0, 9, (64, 64))  # int64: NumPy has no fast product for it
    start = time.perf_counter()
    a @ a
    assert ceiling.float32_macs_per_s > 64**3 / (time.perf_counter() - start)
    if "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        assert ceiling.int8_macs_per_s > 1.5 * ceiling.float32_macs_per_s
    with pytest.raises(InputError, match="threads"):
        measure_ceiling(0)
