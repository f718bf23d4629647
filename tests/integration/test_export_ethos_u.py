"""`edgepress export --to ethos-u`: what Vela compiles, what it leaves, and what firmware gets."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c99_graphs import graph
from micro_package import Install

from edgepress.converters.errors import ConversionError
from edgepress.runtime import MissingExtraError, load
from edgepress.runtime.errors import ModelFileError
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting import ethos_u
from edgepress.toolkit.shipping.exporting.export import export

pytest.importorskip("ethosu.vela")


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.tflite"
    path.write_bytes(graph("chain-0"))
    return path


@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-512"])
def test_a_folder_holds_the_compiled_file_and_what_firmware_needs(
    accelerator: str, install: Install, chain: Path
) -> None:
    install("pass")
    exported = export(chain, "ethos-u", accelerator=accelerator, samples=3)
    folder = chain.with_name("chain-ethos-u")
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "model.cc", "model.h", "model.tflite", "report.json", "selftest.cc")
    }
    kinds = [node.operation for node in inspect(folder / "model.tflite").nodes]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert kinds.count("CUSTOM:ethos-u") >= 1
    assert sum(report["cpu_operations"].values()) == len(kinds) - kinds.count("CUSTOM:ethos-u")
    header, source, selftest = ((folder / name).read_text() for name in ("model.h", "model.cc", "selftest.cc"))
    assert "resolver.AddEthosU()" in header
    body = re.search(r"model_bytes\[.*?= \{(.*?)\};", source, re.DOTALL)
    assert body is not None
    assert bytes(map(int, body[1].split(","))) == (folder / "model.tflite").read_bytes()
    assert len(re.findall(r"^\{", selftest, re.MULTILINE)) >= 6
    estimate = report["estimate"]
    assert estimate["inference_s"] == pytest.approx(estimate["cycles"] / estimate["clock_hz"], rel=1e-3)
    assert report["npu_operations"] + sum(report["cpu_operations"].values()) == len(inspect(chain).nodes)
    unshared = estimate["memory_mode"].startswith("Dedicated")
    assert report["ram"]["used"] == pytest.approx(estimate["sram_bytes"], abs=64) or unshared
    assert (f"{estimate['sram_bytes']} bytes of SRAM" in (folder / "README.md").read_text()) == unshared
    assert report["ram"]["arena"] >= 1.05 * (report["ram"]["used"] + ethos_u.RECORDS)
    assert report["flash"]["file"] == (folder / "model.tflite").stat().st_size
    assert (report["accelerator"], report["vela"]) == (accelerator, importlib.metadata.version("ethos-u-vela"))
    readme = (folder / "README.md").read_text()
    assert not re.search(r"@[A-Z_]+@", header + source + selftest + readme)
    assert accelerator in readme
    assert exported.report["language"] == "ethos-u"


def test_the_contract_goes_with_the_compiled_file_and_nothing_else_runs_it(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgepress.converters.contract.hints import Hints
    from edgepress.runtime import read_contract
    from edgepress.toolkit.conversion.inspection import annotate

    install("pass")
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(graph("chain-0"))
    (tmp_path / "labels.txt").write_text("\n".join("abcdef"))
    annotate(plain, tmp_path / "model.tflite", hints=Hints(labels=tmp_path / "labels.txt", task="softmax"))
    compiled = export(tmp_path / "model.tflite", "ethos-u", out=tmp_path / "npu").folder / "model.tflite"
    contract = read_contract(compiled)
    assert contract is not None
    assert contract.labels == tuple("abcdef")
    for use in (lambda: load(compiled, "litert"), lambda: export(compiled, out=tmp_path / "c")):
        with pytest.raises(ModelFileError, match="compiled for an Ethos-U") as caught:
            use()
        assert "compiled from" in caught.value.hint
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(compiled)])
    assert "compiled for an Ethos-U" in " ".join(capsys.readouterr().out.split())


def test_what_vela_refuses_is_one_error_and_leaves_nothing(install: Install, run: Any, tmp_path: Path) -> None:
    install("pass")
    path = run.variants["tflite-float32"]
    with pytest.raises((InputError, ModelFileError, ConversionError)) as caught:
        export(path, "ethos-u", out=tmp_path / "npu")
    assert "integer" in f"{caught.value} {caught.value.hint}"
    assert not (tmp_path / "npu").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "ethos-u", "accelerator": "ethos-u99"}, "accelerator"),
        ({"to": "c99", "accelerator": "ethos-u85-512"}, "--accelerator is for ethos-u"),
        ({"to": "ethos-u", "name": "front"}, "--name is for c99"),
        ({"to": "ethos-u", "stream": 2}, "stream"),
        ({"to": "ethos-u", "layout": "arduino"}, "layout"),
        ({"to": "ethos-u", "board": "pico"}, "pico has no Ethos-U"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, chain: Path) -> None:
    with pytest.raises(InputError, match=message):
        export(chain, **options)


def test_without_vela_one_error_names_the_extra(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingExtraError, match="ethos-u-vela"):
        export(chain, "ethos-u")


def test_items_have_the_answers_of_the_file_before_it_was_compiled(install: Install, chain: Path) -> None:
    install("pass")
    folder = export(chain, "ethos-u", samples=4).folder
    model = load(chain, "litert")
    text = (folder / "selftest.cc").read_text()
    arrays = [
        np.array([[float(n) for n in row.split(",")] for row in re.findall(r"\{(.*?)\}", body, re.DOTALL)])
        for body in re.findall(r"puts\[ITEMS\]\[.*?= \{(.*?)\n\};", text, re.DOTALL)
    ]
    stored = arrays[0].astype(model._session.dtype).reshape(4, *model.shape)
    answers = np.concatenate([model._session.run(item[np.newaxis]) for item in stored])
    np.testing.assert_array_equal(model._session._table[arrays[1].astype(int)], answers)


def test_the_arena_ends_with_the_last_tensor_that_has_a_place() -> None:
    """Drawn tensors and offsets; those without a place, which hold weights and commands, are elsewhere."""
    from edgepress.converters.to_tflite import flatbuffer as flat
    from edgepress.converters.to_tflite import passes

    rng = np.random.default_rng()
    for _ in range(20):
        root, subgraph = flat.read(graph("chain-0"))
        dtypes = [np.dtype(name) for name in rng.choice(["uint8", "int8", "int16", "float32"], len(subgraph.tensors))]
        places = rng.integers(-1, 5000, len(subgraph.tensors))
        places[rng.integers(len(places))] = 17
        for tensor, dtype in zip(subgraph.tensors, dtypes, strict=True):
            tensor.type = flat.TYPES[dtype]
        plan = np.array([0, 0, len(places), *places], np.int32)
        with_plan = passes.with_metadata(flat.write(root), "OfflineMemoryAllocation", plan.tobytes())
        ends = [
            place + int(np.prod(tensor.shape)) * dtype.itemsize
            for place, tensor, dtype in zip(places.tolist(), subgraph.tensors, dtypes, strict=True)
            if place >= 0
        ]
        assert ethos_u.planned_bytes(with_plan) == max(ends)
