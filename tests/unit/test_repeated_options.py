"""Options of several values that are given more than once, and paths that are empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from edgepress.toolkit.cli.app import app, run
from edgepress.toolkit.cli.option_table import VECTORS, CommaList, join_lists, option_type, options_of

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def lists() -> Iterator[tuple[Any, str]]:
    """Each command with each option that takes several values in one text."""
    for each in COMMANDS.values():
        for command in getattr(each, "commands", {"": each}).values():
            for option in options_of(command):
                if option_type(command, option.name) is CommaList and option.name not in VECTORS:
                    yield command, option.opts[0]


def test_the_values_of_all_places_count() -> None:
    """The last one did, without a word: `convert --to tflite-int8 --to onnx-int8` made one file."""
    found = [*lists()]
    assert {command.name for command, _ in found} > {"convert", "benchmark", "bench"}
    for command, word in found:
        given = ["a", word, "1,2", f"{word}=3", "--", word, "4"]
        assert join_lists(command, given) == [f"{word}=1,2,3", "a", "--", word, "4"]
        name = next(option.name for option in command.params if word in option.opts)
        context = command.make_context("x", [word, "1", word, "2"], resilient_parsing=True)
        assert context.params[name] == "1,2"


def test_the_last_vector_counts() -> None:
    """As scripts that append options to a command expect: a mean of two values was a mean of two channels."""
    given = ["m", "--mean", "1,2,3", "--mean=0", "--input-range", "0,1", "--input-range", "-1,1"]
    assert join_lists(COMMANDS["convert"], given) == given
    context = COMMANDS["convert"].make_context("x", [*given, "--std", "1", "--std", "2"], resilient_parsing=True)
    assert [context.params[name] for name in VECTORS] == ["-1,1", "0", "2"]


def test_what_stands_behind_an_option_is_its_value() -> None:
    for given in (["m", "--out", "--to"], ["m", "--verbose", "--json"], ["m", "--nope", "x"], ["m", "--to"]):
        assert join_lists(COMMANDS["convert"], given) == given


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["convert", ""], "model"),
        (["convert", "a.keras", "--out", ""], "out"),
        (["benchmark", "a.tflite", ""], "files"),
        (["publish", "add", "", "--to", "b", "--keys", "c"], "bundles"),
    ],
)
def test_an_empty_path_is_an_error(words: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be the current folder."""
    assert run([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith(f"The path '{name}' is empty.")
