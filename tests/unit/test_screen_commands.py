"""Commands that a user is to copy: whatever the width of the terminal, each is on one line."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scripts
from configuring import edgepress

from edgepress.runtime import Contract, InputSpec
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.benchmark import _show_remarks
from edgepress.toolkit.results.remarks.facts import Remark

CLI = scripts.ROOT / "toolkit" / "cli"


def test_a_command_is_not_broken_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "edgepress train --data 'a b' --out " + "/".join(["folder"] * 20)
    screen.next_command(line)
    screen.shell_command(f"  {line}")
    screen.remarks([{"text": "It is so.", "command": line}])
    printed = capsys.readouterr().out.splitlines()
    commands = [each.strip() for each in printed if "edgepress" in each]
    assert [each.removeprefix("Next: ").removeprefix("Fix: ") for each in commands] == [line] * 3


def test_a_command_that_helps_with_several_remarks_stands_once_and_is_not_the_next_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases = (("A.", "longer"), ("B.", ""), ("C.", "longer"), ("D.", "other"))
    rows = [{"text": text, "command": command} for text, command in cases]
    screen.remarks(rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Remark: A.", "Remark: C.", "  Fix: longer", "Remark: B.", "Remark: D.", "  Fix: other"]


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_no_command_of_the_program_is_printed_as_prose(path: Path) -> None:
    """`screen.say` breaks lines; what `shell_line` makes goes through `shell_command` or `next_command`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "screen.say":
            said = ast.unparse(node)
            assert not [part for part in ("shell_line(", "Next: ") if part in said], f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(("task", "more"), [("softmax", " --data DATA"), ("none", "")])
def test_a_bundle_of_an_annotated_file_takes_samples_from_named_data(
    task: Any, more: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields: dict[str, Any] = {"labels": (), "output_shape": (2,)} if task == "none" else {"labels": ("a", "b")}
    contract = Contract(task=task, input=InputSpec.image(8, 8, "grey"), scheme="onnx-float32", **fields)
    made = SimpleNamespace(path=Path("an other.onnx"), notes=(), contract=contract)
    monkeypatch.setattr("edgepress.toolkit.conversion.inspection.annotate", lambda *args, **options: made)
    assert edgepress("annotate", "net.onnx", "--out", "an other.onnx") == 0
    assert capsys.readouterr().out.endswith(f"Next: edgepress bundle 'an other.onnx'{more}\n")


def test_what_the_training_remarked_is_not_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.keras").touch()
    (tmp_path / "metrics.json").write_text('{"remarks": [{"kind": "few epochs"}]}')
    made = [Remark(kind="few epochs", text="It had 2.", command="a"), Remark(kind="few test items", text="Few.")]
    result: Any = SimpleNamespace(baseline={"file": str(tmp_path / "variants" / "x.tflite")}, remarks=made)
    _show_remarks(result)
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["Remark: Few.", "Remarks of the training that hold here, too: few epochs."]
    (tmp_path / "metrics.json").write_text("damaged")
    _show_remarks(result)
    assert capsys.readouterr().out.splitlines() == ["Remark: It had 2.", "  Fix: a", "Remark: Few."]
