"""Every option that a message or a printed command names is one that the command has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import GROUP, edgepress
from PIL import Image

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
WORDS = re.compile(r"edgepress ([a-z]+(?: [a-z]+)?)((?:(?!edgepress )[^.;:])*)")
"""A command in a text, and what follows it in its sentence."""


def commands(group: Any = GROUP, *before: str) -> Iterator[tuple[str, Any]]:
    """Each command by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield " ".join([*before, name]), command


ALL = dict(commands())


def options_of(command: Any) -> set[str]:
    """The options of a command as they are written."""
    return {word for p in command.params for word in (*p.opts, *p.secondary_opts)} | {"--help"}


def named(text: str) -> Iterator[tuple[str, str]]:
    """Each command that a text names, with each option behind it."""
    for words, rest in WORDS.findall(text):
        command = words if words in ALL else words.split()[0]
        if command in ALL:
            for option in OPTION.findall(rest):
                yield command, option


def literal(node: ast.AST) -> str:
    """The words of a literal, or of a call of `shell_line`."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else "{}"
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return literal(node.value) if isinstance(node.value, ast.Call) else "{}"
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "shell_line":
        return " ".join(literal(part) for part in node.args)
    return "{}"


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the toolkit and the converters that may be printed, and where it is."""
    for package in ("toolkit", "converters"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            documentation = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if hasattr(node, "body") and isinstance(node.body, list) and node.body
                if isinstance(node.body[0], ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant | ast.JoinedStr | ast.Call) and id(node) not in documentation:
                    text = literal(node)
                    if "edgepress " in text:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_commands_in_texts_have_the_options_that_stand_behind_them() -> None:
    found = [(where, *pair) for where, text in texts() for pair in named(text)]
    assert len(found) > 25
    assert [each for each in found if each[2] not in options_of(ALL[each[1]])] == []


def test_each_command_that_opens_data_can_skip_what_is_unreadable() -> None:
    reads = {name for name, command in ALL.items() if "--data" in options_of(command)} - {"init"}
    assert {"calibrate", "bundle", "export", "improve", "board bench"} <= reads
    assert {name for name in reads if "--skip-unreadable" not in options_of(ALL[name])} == set()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits of which every third can't be decoded."""
    root = tmp_path_factory.mktemp("damaged")
    rng = np.random.default_rng()
    for label in range(10):
        (root / str(label)).mkdir()
        for n in range(12):
            path = root / str(label) / f"{n}.png"
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(path)
            if n % 3 == 0:
                path.write_bytes(path.read_bytes()[: int(rng.integers(40, 120))])
    return root


FILE = "{tflite-int8}"
READING = {
    "evaluate": [FILE],
    "benchmark": [FILE, "--engine", "litert"],
    "calibrate": [FILE, "--max-error", "50%", "--out", "{out}"],
    "bundle": [FILE, "--out", "{out}.zip"],
    "export": ["{integer}", "--out", "{out}"],
    "diagnose": ["{integer}", "--engines", "c99,litert"],
    "compare": ["{tflite-float32}", FILE],
    "convert": ["{model}", "--to", "tflite-int8", "--out", "{out}"],
    "compress": ["{model}", "--max-size", "1 MB", "--out", "{out}"],
    "train": ["--arch", "lenet", "--out", "{out}"],
    "improve": ["{run}", "--new", "{damaged}", "--out", "{out}"],
}
"""What opens data, with `--data` where it has none of its own."""


@pytest.fixture(scope="module")
def places(run: Any, damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from edgepress.toolkit import convert

    folder = tmp_path_factory.mktemp("integer")
    made = convert(run.model, "tflite-int8", target="integer-only", out=folder, data="digits")
    known = {"integer": made[0].path, "model": run.model, "run": run.folder, "damaged": damaged}
    return {name: str(path) for name, path in (known | dict(run.variants)).items()}


@pytest.mark.parametrize("command", READING)
def test_what_is_said_of_an_unreadable_image_is_an_option_of_the_command(
    command: str, places: dict[str, str], damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filled = places | {"out": str(tmp_path / "out")}
    words = [re.sub(r"\{([\w-]+)\}", lambda m: filled[m[1]], word) for word in READING[command]]
    code = edgepress(command, *words, "--data", str(damaged))
    printed = " ".join(capfd.readouterr().err.split())
    assert code != 0, printed
    assert "--skip-unreadable" in printed
    named_here = {*OPTION.findall(WORDS.sub("", printed))}
    assert named_here <= options_of(ALL[command]), printed
    assert all(option in options_of(ALL[other]) for other, option in named(printed)), printed


@pytest.mark.parametrize(
    ("command", "codes"), [("calibrate", (0, 4)), ("bundle", (0,)), ("export", (0,)), ("diagnose", (0,))]
)
def test_unreadable_images_are_skipped_and_listed(
    command: str, codes: tuple[int, ...], places: dict[str, str], damaged: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = places | {"out": str(tmp_path / "out")}
    words = [re.sub(r"\{([\w-]+)\}", lambda m: filled[m[1]], word) for word in READING[command]]
    if command == "calibrate":
        words += ["--unknown", str(damaged)]
    code = edgepress(command, *words, "--data", str(damaged), "--skip-unreadable")
    shown = capfd.readouterr()
    assert code in codes, shown
    assert "0.png" in shown.err
    for other, option in named(shown.out):
        assert option in options_of(ALL[other])
    if "Next: edgepress bundle" in shown.out:
        assert "--skip-unreadable" in shown.out
