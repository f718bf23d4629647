"""Printed commands that open a model made elsewhere say what the user said of it, or they would fail."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import Contract
from edgepress.toolkit.cli import options
from edgepress.toolkit.data import open_data
from edgepress.toolkit.diagnosis.accuracy.fixes import ProposedConversion
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.measurement.benchmarking.remarks import facts_of_file

GIVEN = (
    Hints(),
    Hints(input_range="-1,1", color="bgr", resize="crop:0.875", channels_first=True),
    Hints(mean="1,2,3", std="4,5,6", channels_first=False, size="48x192", softmax=True),
    Hints(labels=Path("my labels.txt"), task="multilabel", threshold=0.25, input="standardize"),
    Hints(output="scores:0", custom=("a:B", "c:D"), trust=True),
)


def read_back(words: list[str]) -> Hints:
    """What a command understands of these options."""
    found: list[Hints] = []
    app = typer.Typer()

    @app.command()
    @options.with_source_hints
    def command(hints: Hints) -> None:
        found.append(hints)

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize("hints", GIVEN, ids=lambda hints: " ".join(hints.words) or "none")
def test_words_say_the_same_again(hints: Hints) -> None:
    assert read_back(shlex.split(shell_line(*hints.words))) == hints


def test_numbers_of_python_are_written_as_options() -> None:
    hints = Hints(input_range=(-1, 1), mean=[0.5], size=(48, 192), labels=["cat", "dog"])
    assert hints.words == ("--labels", "LABELS", "--input-range", "-1,1", "--mean", "0.5", "--size", "48x192")


def test_a_fix_converts_the_model_as_it_was_described() -> None:
    command = ProposedConversion("", "onnx-int8", {"data": "photos"}).command("m.onnx", Hints(input_range="0,1").words)
    assert command == "edgepress convert m.onnx --to onnx-int8 --input-range 0,1 --data photos"


def test_the_commands_of_remarks_describe_the_file(tmp_path: Path) -> None:
    x = np.random.default_rng(5).random((60, 3), np.float32)
    y = np.repeat([0, 1], 30)
    np.savez(tmp_path / "d.npz", x_test=x, y_test=y, x_train=1 + x, y_train=y)
    data = open_data(str(tmp_path / "d.npz"))
    contract = Contract(task="softmax", labels=data.labels, input=data.input, scheme="onnx-float32")
    hints = Hints(input_range="0,1", color="none")
    file = tmp_path / "a.onnx"
    facts = facts_of_file(file, contract, data, y, command=("edgepress", "benchmark", file), hints=hints)
    for command in (facts.look, facts.more):
        assert command.endswith("--input-range 0,1 --color none")
        assert "--data" in command
