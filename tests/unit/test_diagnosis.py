"""Diagnoses: what stands out in a profile, what is known to fix it, and the sentences that say so."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from diagnosing import CEILING
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.annotation import scheme_of
from edgepress.converters.inspection import Node
from edgepress.converters.rewrites.table import REWRITES, Rewrite
from edgepress.converters.schemes import SCHEMES
from edgepress.toolkit.diagnosis.profiling.pairing import Ports, in_partitions
from edgepress.toolkit.diagnosis.profiling.profile import NodeTime, Profile
from edgepress.toolkit.diagnosis.speed import about, causes
from edgepress.toolkit.diagnosis.speed import diagnose as diagnose_module
from edgepress.toolkit.diagnosis.speed.about import About
from edgepress.toolkit.diagnosis.speed.causes import missing
from edgepress.toolkit.diagnosis.speed.diagnose import summary
from edgepress.toolkit.diagnosis.speed.diagnosis import CONVERSION, DEPTHWISE, PRODUCT, TABLE, parts, sort
from edgepress.toolkit.diagnosis.speed.finding import Case, findings
from edgepress.toolkit.results.figures import Finding

VNNI = frozenset({"avx2", "avx512f", "avx512_vnni"})
GEMM = "Fully Connected (NC, QS8, QC8W) GEMM"


def kernel(operation: str, us: float, **fields: Any) -> NodeTime:
    """A kernel that took the same time in every inference."""
    plain = {"name": operation, "kernel": operation, "share": 0.0, "delegated": False, "least_us": us}
    return NodeTime(operation=operation, time_us=us, **{**plain, **fields})


def convolution(us: float, macs: int, **fields: Any) -> NodeTime:
    """A convolution that XNNPACK computes in int8."""
    return kernel("CONV_2D", us, **{"kernel": GEMM, "delegated": True, "macs": macs, "computes_in": "int8", **fields})


def profiled(*nodes: NodeTime, engine: str = "litert", rest_us: float = 0.0) -> Profile:
    delegates = engine == "litert"
    return Profile(
        file="m",
        engine=engine,
        threads=1,
        runs=10,
        total_us=sum(n.time_us for n in nodes) + rest_us,
        rest_us=rest_us,
        tracing_slowdown=1.0,
        operations=(),
        nodes=nodes,
        delegated_share=0.5 if delegates else None,
        delegated_operations=1 if delegates else None,
        file_operations=2 if delegates else None,
        method="profiler",
    )


def found(
    *nodes: NodeTime,
    file: About | None = None,
    engine: str = "litert",
    flags: frozenset[str] = VNNI,
    rest_us: float = 0.0,
) -> list[Finding]:
    made = profiled(*nodes, engine=engine, rest_us=rest_us)
    known = file or About("tflite-int8", ours=True, source="m.keras")
    return findings(Case(made, sort(made, CEILING, known.grouped), known, missing(flags, "x86_64")))


@pytest.mark.parametrize(
    ("engines", "profiled_on"), [("all", ["litert", "openvino"]), (["litert", "onnxruntime"], None)]
)
def test_each_file_is_profiled_on_all_engines_that_were_asked_for(
    engines: Any, profiled_on: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second one, whose format may be another."""
    monkeypatch.setattr(diagnose_module, "file_format", lambda path: path.suffix[1:])
    monkeypatch.setattr(diagnose_module, "usable_engines", lambda format: ["litert", "openvino"])
    monkeypatch.setattr(diagnose_module, "_quiet_profile", lambda file, engine, *_: (str(file), engine))
    monkeypatch.setattr(diagnose_module, "measure_ceiling", lambda threads: CEILING)
    monkeypatch.setattr(diagnose_module, "diagnosis", lambda profile, *_, **__: profile)
    found = diagnose_module.diagnose("a.tflite", "b.onnx", engine=engines)
    expected = {"a.tflite": profiled_on or ["litert"], "b.onnx": profiled_on or ["onnxruntime"]}
    assert found == [(file, engine) for file, names in expected.items() for engine in names]


@pytest.fixture
def islands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of rewrites with one that makes look-up tables."""
    row = Rewrite("lookup-islands", "tables", ("tflite-int8",), stage="quantized", targets=("cpu",))
    monkeypatch.setattr(about, "REWRITES", (row,))


def test_an_operation_that_is_not_delegated_gets_the_rewrite_that_the_file_lacks(islands: None) -> None:
    swishes = [kernel("HARD_SWISH", 30.0, computes_in="int8")] * 2
    fast = convolution(40.0, 8_000_000)
    (one,) = found(*swishes, fast)
    assert (one.kind, one.count, one.rewrite, one.share) == ("not delegated", 2, "lookup-islands", pytest.approx(0.6))
    assert one.text == "2 HARD_SWISH in int8 that XNNPACK supports only in float"
    assert one.command == "edgepress convert m.keras --to tflite-int8"
    assert "xnnpack_delegate.cc" in one.ground
    has = About("tflite-int8", ours=True, rewrites=("lookup-islands",))
    assert [(f.fix, f.command) for f in found(*swishes, fast, file=has)] == [("", "")], "it is there, and no help"
    (other,) = found(*swishes, fast, file=About("tflite-int8"))
    assert other.fix.startswith("converting the float model with edgepress")
    (strict,) = found(*swishes, fast, file=About("tflite-int8", ours=True, target="integer-only"))
    assert "for the target cpu, not integer-only" in strict.fix


def test_no_rewrite_is_named_that_this_release_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "REWRITES", ())
    (one,) = found(kernel("RELU", 30.0, computes_in="int8"), convolution(40.0, 8_000_000))
    assert (one.fix, one.rewrite, one.command) == ("", "", "")


def test_tables_in_the_place_of_islands_are_neither_conversions_nor_findings() -> None:
    table = kernel("Invalid Unary Op", 5.0, delegated=True)
    made = profiled(table, convolution(40.0, 8_000_000), kernel("Convert", 1.0, kernel="Convert (NC, F32, QS8)"))
    kernels = sort(made, CEILING)
    assert [k.sort for k in kernels] == [TABLE, PRODUCT, CONVERSION]
    assert found(table, convolution(40.0, 8_000_000)) == []


def test_16_bit_activations_are_one_finding_with_another_scheme() -> None:
    nodes = [kernel(name, 20.0, computes_in="int16") for name in ("CONV_2D", "CONV_2D", "MUL")]
    (one,) = found(*nodes, file=About("tflite-int16x8", ours=True, source="m.keras"))
    assert one.text == "2 CONV_2D, 1 MUL that XNNPACK does not take with 16-bit activations"
    assert (one.scheme, one.command) == ("tflite-int8", "edgepress convert m.keras --to tflite-int8")


def test_a_kernel_is_slow_against_its_own_kind_of_work() -> None:
    fast, slow = convolution(40.0, 8_000_000), convolution(40.0, 800_000)
    assert found(fast) == []
    (one,) = found(fast, slow)
    assert (one.kind, one.fix, one.text) == (
        "slow kernel",
        "",
        "1 CONV_2D in int8 at 10 % of what this CPU reaches in such work",
    )
    depthwise = kernel("DEPTHWISE_CONV_2D", 40.0, kernel="Convolution (NHWC, QC8) DWConv", delegated=True, macs=700_000)
    assert found(fast, depthwise) == [], "no product could be as slow, but a depthwise convolution may"
    assert found(fast, replace(slow, time_us=4.0, least_us=4.0)) == [], "too short for whole microseconds"
    disturbed = replace(fast, time_us=4000.0)
    assert {f.kind for f in found(disturbed)} <= {"call"}, "its mean is that of other programs"
    assert found(fast, replace(slow, macs=None)) == [], "nothing is known of it"


def test_a_layer_that_waits_for_its_weights_is_not_slow_but_too_large() -> None:
    wide = kernel(
        "FULLY_CONNECTED",
        100.0,
        kernel="Fully Connected (NC, F32) GEMM",
        delegated=True,
        macs=500_000,
        weight_bytes=2_000_000,
    )
    (one,) = found(wide, file=About("tflite-float32", ours=True, source="m.keras"))
    assert (one.kind, one.scheme) == ("memory", "tflite-int8")
    assert one.text == "waiting for the weights of 1 layer, 2 MB"


def test_large_depthwise_kernels_have_their_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Rewrite("split-depthwise", "split", ("tflite-float32",), stage="float")
    monkeypatch.setattr(about, "REWRITES", (row,))
    node = kernel("CONV_2D", 400.0, name="dw", kernel="Convolution (NHWC, F32) IGEMM", delegated=True, macs=800_000)
    file = About("tflite-float32", source="f.tflite", grouped=frozenset({"dw"}), marks={"dw": about.LARGE})
    (one,) = found(node, file=file)
    assert (one.rewrite, one.command) == ("split-depthwise", "edgepress convert f.tflite --to tflite-float32")
    assert one.text.endswith("because XNNPACK's depthwise kernels end at 25 taps")


def test_kernels_for_uint8_are_slow_only_where_those_for_int8_are_fast() -> None:
    old = convolution(100.0, 3_000_000, computes_in="uint8", kernel="Convolution (NHWC, QU8) IGEMM")
    (one,) = found(old, file=About("tflite-int8"))
    assert one.command == "edgepress convert MODEL --to tflite-int8"
    older = found(old, file=About("tflite-int8"), flags=frozenset({"avx2"}))
    assert {f.kind: f.fix for f in older} == {"instructions": "", "slow kernel": ""}


def test_what_onnx_runtime_leaves_in_float_and_converts(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Rewrite("uint8-activations", "unsigned", ("onnx-int8",), stage="recipe")
    monkeypatch.setattr(about, "REWRITES", (row,))
    nodes = [
        kernel("Conv", 50.0, computes_in="float32", macs=100_000),
        kernel("QLinearConv", 20.0, computes_in="uint8", macs=4_000_000),
        kernel("DequantizeLinear", 15.0),
        kernel("QuantizeLinear", 15.0),
    ]
    rows = found(*nodes, file=About("onnx-int8", ours=True, signed=True), engine="onnxruntime")
    assert [(f.kind, f.share, f.rewrite) for f in rows] == [
        ("float", 0.5, "uint8-activations"),
        ("conversion", 0.3, "uint8-activations"),
    ]
    unsigned = found(*nodes, file=About("onnx-int8"), engine="onnxruntime")
    assert {f.rewrite for f in unsigned} == {""}, "its activations are unsigned already"
    assert rows[0].text.startswith("1 of 2 convolutions and dense layers")
    dynamic = [kernel("ConvInteger", 60.0, computes_in="uint8", macs=200_000), kernel("DynamicQuantizeLinear", 40.0)]
    dynamic_file = About("onnx-dynamic", ours=True, source="m.keras")
    rows = found(*dynamic, file=dynamic_file, engine="onnxruntime")
    assert {f.command for f in rows} == {"edgepress convert m.keras --to onnx-int8"}
    row = Rewrite("onnx-convolution-weights", "float", ("onnx-dynamic",), stage="recipe")
    monkeypatch.setattr(about, "REWRITES", (row,))
    rows = found(*dynamic, file=dynamic_file, engine="onnxruntime")
    assert {(f.rewrite, f.command) for f in rows} == {(row.name, "edgepress convert m.keras --to onnx-dynamic")}


def test_time_that_other_programs_took_is_not_the_calls() -> None:
    made = profiled(convolution(10_000.0, 1_400_000_000), rest_us=20_000.0)
    case = Case(made, sort(made, CEILING), About("tflite-int8"))
    assert findings(case) == []
    assert case.whole_us < 11_000 < case.disturbed_us + 11_000 <= made.total_us + 1_000


def test_small_nets_are_told_that_the_call_takes_the_time() -> None:
    (one,) = found(convolution(6.0, 1_200_000), rest_us=6.0)
    assert (one.kind, one.share, one.fix) == ("call", 0.5, "")


@pytest.mark.parametrize(
    ("machine", "flags", "lacks"),
    [
        ("x86_64", {"avx2", "avx_vnni"}, []),
        ("x86_64", {"avx2", "avx512f"}, ["VNNI"]),
        ("x86_64", {"sse4_1"}, ["AVX2", "VNNI"]),
        ("aarch64", {"asimd", "asimddp"}, []),
        ("aarch64", {"asimd"}, ["dot product"]),
        ("armv7l", {"neon"}, ["dot product"]),
        ("riscv64", {"v"}, []),
        ("x86_64", set(), []),
    ],
)
def test_instructions_that_a_cpu_lacks(machine: str, flags: set[str], lacks: list[str]) -> None:
    names = [one.name for one in missing(frozenset(flags), machine)]
    assert len(names) == len(lacks)
    assert all(word in name for word, name in zip(lacks, names, strict=True))


def test_integer_kernels_without_their_instructions_are_a_finding_and_float_ones_are_not() -> None:
    (one,) = found(convolution(40.0, 8_000_000), flags=frozenset({"avx2"}))
    assert (one.kind, one.share) == ("instructions", 1.0)
    assert "gemm-config.c" in one.ground
    float_one = convolution(200.0, 8_000_000, kernel="Convolution (NHWC, F32) IGEMM", computes_in="float32")
    assert found(float_one, file=About("tflite-float32"), flags=frozenset({"avx2"})) == []


def text_of(*nodes: NodeTime, file: About | None = None) -> str:
    made = profiled(*nodes)
    kernels = sort(made, CEILING)
    case = Case(made, kernels, file or About("tflite-int8", ours=True, source="m.keras"))
    return summary(findings(case), parts(kernels, case.rest_us, case.whole_us, delegates=True), kernels)


def test_the_first_sentence_says_what_takes_the_time_and_what_mends_it(islands: None) -> None:
    text = text_of(*[kernel("HARD_SWISH", 30.0, computes_in="int8")] * 2, convolution(40.0, 8_000_000))
    assert text == (
        "60 % of the time goes to 2 HARD_SWISH in int8 that XNNPACK supports only in float; converting again makes "
        "them look-up tables: `edgepress convert m.keras --to tflite-int8`."
    )


def test_a_fix_is_told_even_if_larger_findings_have_none(islands: None) -> None:
    nodes = [convolution(100.0, 1_000_000), kernel("PAD", 90.0), kernel("RELU", 10.0, computes_in="int8")]
    text = text_of(*nodes)
    assert text.count("no known fix") == 1, "of two with the same answer, one sentence"
    assert text.endswith("look-up tables: `edgepress convert m.keras --to tflite-int8`.")


def test_it_says_plainly_that_nothing_stands_out() -> None:
    text = text_of(convolution(94.0, 13_348_000), kernel("ADD", 6.0, delegated=True))
    assert text == (
        "Nothing stands out: 94 % of the time is in convolutions and dense layers at 71 % of what this CPU reaches in "
        "such work, 6 % in other operations."
    )
    assert "too short" in text_of(convolution(2.0, 400_000))
    assert text_of(convolution(0.0, 400_000)).startswith("Every kernel takes less than the profiler's microsecond")


@pytest.mark.parametrize(
    ("product", "short", "depthwise"),
    [
        (94.0, 0.0, 0.0),
        (6.0, 4.0, 0.0),
        (6.0, 8.0, 0.0),
        (6.0, 40.0, 30.0),
        (60.0, 0.0, 4.0),
        (2.0, 0.0, 30.0),
        (2.0, 0.0, 3.0),
    ],
)
def test_the_text_compares_what_the_table_compares(product: float, short: float, depthwise: float) -> None:
    nodes = [convolution(product, int(product * 142_000))]
    nodes += [convolution(4.0, 400_000)] * int(short / 4)
    own = convolution(depthwise, int(depthwise * 10_000), kernel="Convolution (NHWC, QC8) DWConv")
    nodes += [replace(own, operation="DEPTHWISE_CONV_2D")] if depthwise else []
    made = profiled(*nodes, kernel("ADD", 20.0, delegated=True))
    kernels = sort(made, CEILING)
    shares = parts(kernels, 0.0, sum(k.time_us for k in kernels), delegates=True)
    text = summary([], shares, kernels)
    reaches = [p.reach for p in shares if p.work in (PRODUCT, DEPTHWISE)]
    assert ("to be compared" in text) == all(reach is None for reach in reaches), text
    assert ("that can be compared" in text) == (0 < reaches.count(None) < len(reaches)), text
    if sum(reach is not None for reach in reaches) == 1:  # the text says what the table says
        (reach,) = [reach for reach in reaches if reach is not None]
        assert f"at {100 * reach:.0f} % of what this CPU reaches" in text


def test_causes_name_schemes_that_there_are_and_have_grounds() -> None:
    rows = [c for c in vars(causes).values() if isinstance(c, causes.Cause)]
    rows += [*causes.NOT_DELEGATED, *causes.WEIGHTS.values()]
    assert len(rows) > 8
    assert {c.scheme for c in rows} <= {"", *SCHEMES}
    assert all(c.ground for c in rows)
    assert {name for c in rows for name in c.rewrites} <= {r.name for r in REWRITES}


@given(st.data())
def test_partitions_run_every_operation_once_after_what_it_reads(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    ports = []
    for n in range(count):
        reads = data.draw(st.lists(st.integers(-1, n), max_size=3))  # -1 is a left out input, 0 the graph's own
        ports.append(Ports(tuple(reads), (n + 1,)))
    own = data.draw(st.sets(st.integers(0, count - 1)))
    order = in_partitions(ports, own)
    assert sorted(order) == list(range(count))
    place = {n: i for i, n in enumerate(order)}
    assert all(place[r - 1] < place[n] for n, op in enumerate(ports) for r in op.reads if r > 0)
    kinds = [n in own for n in order]
    parts_of = [order[i] for i in range(count) if i == 0 or kinds[i] != kinds[i - 1]]
    assert parts_of, "there is at least one part"
    if not own:
        assert order == list(range(count)), "one part keeps the file's order"


def test_an_operation_that_could_run_earlier_joins_the_earlier_part() -> None:
    # 0 -> 1 (own) -> 2, and 0 -> 3: the delegate's first part is 0 and 3, though 3 comes last in the file.
    ports = [Ports((0,), (1,)), Ports((1,), (2,)), Ports((2,), (3,)), Ports((1,), (4,))]
    assert in_partitions(ports, {1}) == [0, 3, 1, 2]


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("int8", "tflite-int8"), ("uint8", "tflite-int8"), ("int16", "tflite-int16x8"), ("dynamic", "tflite-dynamic")],
)
def test_files_of_others_have_the_scheme_of_their_kind(kind: str, scheme: str) -> None:
    def scheme_like(format: str, computes_in: str) -> str:
        nodes = (Node(operation="CONV_2D", name="a", macs=5, computes_in=computes_in), Node(operation="ADD", name="b"))
        return scheme_of(SimpleNamespace(contract=None, format=format, nodes=nodes, weights=()))  # type: ignore[arg-type]

    assert scheme_like("tflite", kind) == scheme
    assert scheme_like("tflite", "float32") == "tflite-float32"
    assert scheme_like("onnx", "int16") == "onnx-int8", "there is no scheme of 16 bits"
