"""`edgepress export --to tflm`: the resolver, the arena and the self-test of a folder for firmware with TFLM."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c99_graphs import graph
from hypothesis import given
from hypothesis import strategies as st
from micro_package import Install

from edgepress.converters.inspection import Inspection, Node, Port
from edgepress.runtime import MissingExtraError, load
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting import tflm
from edgepress.toolkit.shipping.exporting.export import export
from edgepress.toolkit.shipping.exporting.folder import fill

CHAIN = "chain-0"
USED = 4321
"""Bytes of the arena that the package of `micro_package` names."""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.tflite"
    path.write_bytes(graph(CHAIN))
    return path


def numbers(text: str, name: str) -> Any:
    """The rows of an array in C."""
    body = re.search(rf"\b{name}\[.*?= \{{(.*?)\}};", text, re.DOTALL)
    assert body is not None
    rows = re.findall(r"\{(.*?)\}", body[1], re.DOTALL) or [body[1]]
    return np.array([[float(n) for n in row.split(",")] for row in rows])


def test_a_folder_holds_the_file_its_operations_its_arena_and_answers(install: Install, chain: Path) -> None:
    install("pass")
    exported = export(chain, "tflm", samples=3)
    folder = chain.with_name("chain-tflm")
    assert {path.name for path in folder.iterdir()} == {
        *("CMakeLists.txt", "README.md", "model.cc", "model.h", "report.json", "selftest.cc")
    }
    header, selftest = ((folder / name).read_text() for name in ("model.h", "selftest.cc"))
    content = numbers((folder / "model.cc").read_text(), "model_bytes").astype(np.uint8)
    assert content.tobytes() == chain.read_bytes()
    kinds = {node.operation.replace("_", "").lower() for node in inspect(chain).nodes}
    added = re.findall(r"resolver\.Add(\w+)\(\)", header)
    assert {name.lower() for name in added} == kinds
    assert f"MicroMutableOpResolver<{len(kinds)}>" in header
    assert f"MODEL_ARENA_BYTES {USED + 1024 + 15 & ~15}" in header
    model = load(chain, "litert")
    stored = numbers(selftest, "inputs").astype(model._session.dtype).reshape(3, *model.shape)
    answers = np.concatenate([model._session.run(item[np.newaxis]) for item in stored])
    table = model._session._table
    np.testing.assert_array_equal(table[numbers(selftest, "outputs").astype(int)], answers)
    assert json.loads((folder / "report.json").read_text())["ram"] == {"arena": 5360, "used": USED}
    assert exported.report["tflm"] == "9"
    assert not re.search(r"@[A-Z_]+@", header + selftest + (folder / "README.md").read_text())


@given(st.integers(1, 1 << 24))
def test_the_arena_has_a_margin_and_is_aligned(used: int) -> None:
    arena = tflm.arena_of(used)
    assert arena % 16 == 0
    assert used + max(1024, 0.05 * used) - 1 <= arena < used + max(1024, 0.05 * used) + 17


def test_an_arena_that_is_too_small_here_is_an_error_and_writes_nothing(
    install: Install,
    chain: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install("pass")
    monkeypatch.setattr(tflm, "arena_of", lambda used: used - 16)
    with pytest.raises(Exception, match="Failed to allocate"):
        export(chain, "tflm")
    assert not chain.with_name("chain-tflm").exists()


def test_a_board_that_is_too_small_is_named(
    install: Install,
    chain: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install("pass")
    monkeypatch.setattr(tflm, "arena_of", lambda used: 300 << 10)
    with pytest.raises(InputError, match=r"an arena of 307200 bytes, without TFLM's own code and stack; pico") as e:
        export(chain, "tflm", board="pico")
    assert "compress" not in e.value.hint, "its limits are those of the C99"
    assert not chain.with_name("chain-tflm").exists()


@pytest.mark.parametrize(
    ("nodes", "ends", "message"),
    [
        (["CONV_2D", "VAR_HANDLE"], (1, 1), "holds VAR_HANDLE"),
        (["MyLayer"], (1, 1), "holds MyLayer"),
        (["CONV_2D"], (2, 1), "2 inputs and 1 outputs"),
        (["CONV_2D"], (1, 3), "1 inputs and 3 outputs"),
    ],
)
def test_what_the_resolver_has_no_method_for_is_named(nodes: list[str], ends: tuple[int, int], message: str) -> None:
    inputs, outputs = (tuple(Port(name="x", shape=(1,), dtype="int8") for _ in range(count)) for count in ends)
    content = Inspection(
        file="a",
        format="tflite",
        size_bytes=1,
        nodes=tuple(Node(operation=kind, name=kind) for kind in nodes),
        inputs=inputs,
        outputs=outputs,
    )
    with pytest.raises(InputError, match=message):
        tflm.resolver_methods(Path("a.tflite"), content)


def test_without_the_extra_the_command_that_installs_it_is_named(chain: Path) -> None:
    if tflm.engine_version(tflm.ENGINE):
        pytest.skip("tflite-micro is installed")
    with pytest.raises(MissingExtraError) as e:
        export(chain, "tflm")
    assert "micro" in e.value.hint
    assert not chain.with_name("chain-tflm").exists()


STUBS = {
    "model.h": """#include <cstdint>
        #define MODEL_ARENA_BYTES 16
        #define MODEL_INPUT_NUMBERS 1
        #define MODEL_OUTPUT_NUMBERS 1
        typedef TYPE model_input_type; typedef TYPE model_output_type;
        enum TfLiteStatus { kTfLiteOk };
        struct ModelResolver {}; inline TfLiteStatus model_add_operations(ModelResolver &) { return kTfLiteOk; }
        static const unsigned char model_bytes[1] = {0};""",
    "tensorflow/lite/micro/micro_interpreter.h": """
        struct Tensor { struct { char *raw; } data; };
        namespace tflite {
        struct Model {}; inline Model *GetModel(const void *) { return nullptr; }
        struct MicroInterpreter {
            char memory[8]; Tensor tensor;
            MicroInterpreter(Model *, ModelResolver &, uint8_t *, int) { tensor.data.raw = memory; }
            TfLiteStatus AllocateTensors() { return kTfLiteOk; } void Reset() {}
            TfLiteStatus Invoke() { return kTfLiteOk; }
            Tensor *input(int) { return &tensor; } Tensor *output(int) { return &tensor; }
        };
        }""",
    "tensorflow/lite/micro/system_setup.h": "namespace tflite { inline void InitializeTarget() {} }",
    "tensorflow/lite/schema/schema_generated.h": "",
}
"""What the self-test needs of TFLM, with a model whose output is its input."""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.parametrize(
    ("kind", "tolerance", "answers", "expected", "right"),
    [
        ("float", "1e-4", (1000.05, -1000.05, 0.00005, 0.5), (1000, -1000, 0, 0.5), 4),
        ("float", "1e-4", (1000.2, 0.0002, 1000, "NAN"), (1000, 0, -1000, 0), 0),
        ("int8_t", "0", (100, 100, -5, 7), (100, 101, -5, 8), 2),
        ("int8_t", "1", (100, 100, -5, 7), (100, 101, -5, 9), 3),
    ],
)
def test_real_answers_are_compared_relatively(
    kind: str, tolerance: str, answers: Any, expected: Any, right: int, tmp_path: Path
) -> None:
    for name, text in STUBS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("TYPE", kind))
    rows = {name: ", ".join(f"{{{n}}}" for n in each) for name, each in (("INPUTS", answers), ("OUTPUTS", expected))}
    source = fill("tflm/selftest.cc", ITEMS=str(len(answers)), TOLERANCE=tolerance, **rows)
    (tmp_path / "selftest.cc").write_text(source)
    program = tmp_path / "selftest"
    subprocess.run(["g++", "-I", tmp_path, tmp_path / "selftest.cc", "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.stdout.startswith(f"{right} of 4 items")


def test_specialized_kernels_are_for_c99(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["export", str(chain), "--to", "tflm", "--specialize"])
    assert "specialize is for kernels of C99" in capsys.readouterr().err


def test_the_command_prints_arena_file_and_how_to_build(
    install: Install,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("pass")
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(chain), "--to", "tflm", "--board", "pico2"])
    printed = capsys.readouterr().out
    assert "Arena, with margin" in printed
    assert "TFLM's own code and stack come on top" in printed
    assert "-DTFLM_DIR=CLONE_OF_TFLM" in printed
