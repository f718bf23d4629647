"""Rewrites as a user meets them: by default, with `--no-rewrites`, for a target; and every row of their table."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.converters.rewrites.table import REWRITES, Rewrite, rewrites_for
from edgepress.converters.schemes import ALL, SCHEMES, TARGETS, schemes_for, schemes_from
from edgepress.converters.variant import Variant
from edgepress.runtime import InputError, load
from edgepress.toolkit import convert
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.cli.tables import rewrites_table

rows = pytest.mark.parametrize("row", REWRITES, ids=lambda row: row.name)


@rows
def test_a_row_names_what_exists(row: Rewrite) -> None:
    if row.concerns is None:
        assert callable(row.function("rewrite")) or (
            callable(row.function("find")) and callable(row.function("change"))
        )
        assert importlib.import_module(row.module).__doc__
    assert (row.stage == "recipe") == (row.concerns is not None)
    assert set(row.schemes) <= set(SCHEMES)
    assert set(row.targets) <= set(TARGETS)
    assert len({SCHEMES[name].format for name in row.schemes}) == 1, "a graph is of one format"


@rows
def test_a_rewrite_is_made_for_its_schemes_and_targets_alone(row: Rewrite) -> None:
    found = {(s, t) for s in SCHEMES for t in TARGETS if row in rewrites_for(SCHEMES[s], t, row.stage)}
    assert found == {(s, t) for s in row.schemes for t in row.targets}


@rows
def test_every_target_of_a_row_takes_one_of_its_schemes(row: Rewrite) -> None:
    assert row.targets
    assert all(set(schemes_for(target)) & set(row.schemes) for target in row.targets)


def test_names_are_unique() -> None:
    assert len({row.name for row in REWRITES}) == len(REWRITES)


def test_a_file_says_what_it_was_made_for_and_how(run: Any) -> None:
    for scheme, path in run.variants.items():
        contract = load(path).contract
        assert contract is not None
        assert contract.target == "cpu"
        assert set(contract.rewrites) <= {row.name for row in REWRITES if scheme in row.schemes}


@pytest.mark.slow
def test_the_same_model_gives_the_same_rewritten_bytes(run: Any, tmp_path: Path) -> None:
    (again,) = convert(run.model, "tflite-dynamic", out=tmp_path)
    assert again.path is not None
    assert again.path.read_bytes() == run.variants["tflite-dynamic"].read_bytes()


@pytest.mark.slow
def test_without_rewrites(run: Any, tmp_path: Path) -> None:
    for variant in convert(run.model, "tflite-int8,onnx-int8", out=tmp_path, rewrites=False):
        assert variant.path is not None
        assert not variant.rewrites
        contract = load(variant.path).contract
        assert contract is not None
        assert contract.rewrites == ()


def test_a_target_limits_the_schemes(run: Any, tmp_path: Path) -> None:
    assert schemes_from("all", "cpu") == ALL
    assert schemes_from("all", "integer-only") == schemes_from("tflite", "integer-only") == ("tflite-int8",)
    assert schemes_for("integer-only") == ("tflite-int8", "tflite-int4")
    for text in ("tflite-int8,tflite-float32", "onnx"):
        with pytest.raises(InputError, match="does not support float files"):
            schemes_from(text, "integer-only")
    with pytest.raises(InputError, match="'cpu'"):
        convert(run.model, out=tmp_path, target="gpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_says_what_was_rewritten(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(run.model), "--to", "onnx-int8", "--out", str(tmp_path), "--json"])
    assert ended.value.code in (0, None)
    (made,) = json.loads(capsys.readouterr().out)["variants"]
    contract = load(made["file"]).contract
    assert contract is not None
    assert tuple(made["rewrites"]) == contract.rewrites
    rewrites = {row.name: 2 for row in REWRITES}
    table = rewrites_table([Variant("onnx-int8", tmp_path, 1, 1.0, rewrites=rewrites)])
    assert table is not None
    assert [str(cell) for cell in table.columns[0].cells] == [row.name for row in REWRITES]
    assert {str(cell) for cell in table.columns[2].cells} == {"onnx-int8 (2)"}
    assert rewrites_table([Variant("onnx-int8", tmp_path, 1, 1.0)]) is None


@pytest.mark.slow
def test_files_of_two_targets_lie_side_by_side(run: Any, tmp_path: Path) -> None:
    made = [v for target in TARGETS for v in convert(run.model, "tflite-int8", out=tmp_path, target=target)]
    assert [v.path.name for v in made if v.path] == ["model-int8.tflite", "model-int8-integer-only.tflite"]
    for variant, target in zip(made, TARGETS, strict=True):
        assert variant.path is not None
        contract = load(variant.path).contract
        assert contract is not None
        assert contract.target == target


def test_the_guide_lists_every_rewrite() -> None:
    rows = "\n".join(
        f"| `{row.name}` | {row.summary} | {', '.join(f'`{s}`' for s in row.schemes)} | {', '.join(row.targets)} |"
        for row in REWRITES
    )
    table = f"\n| rewrite | what it does | schemes | targets |\n|---|---|---|---|\n{rows}\n"
    page = (Path(__file__).parents[2] / "docs" / "rewrites.md").read_text()
    assert page.split("<!-- rewrites -->")[1] == table, f"docs/rewrites.md must have:\n{table}"
