"""The public surface: `edgepress.toolkit` has the commands' names, loads lazily, and shows examples."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgepress.toolkit as toolkit
from edgepress.runtime import errors
from edgepress.toolkit.cli.commands import COMMANDS

VERBS = [
    *("annotate", "benchmark", "bundle", "calibrate", "compare", "compress", "convert", "demo", "diagnose"),
    *(
        "evaluate",
        "export",
        "improve",
        "inspect",
        "predict",
        "profile",
        "prune",
        "publish",
        "report",
        "sweep",
        "train",
        "tune",
    ),
    "verify",
]
ARGUMENTS = ["BenchmarkOptions", "Hints"]
PARTS = ["calibrate_stream", "diagnose_accuracy", "diagnose_engines", "evaluate_stream", "open_data"]
"""Parts of a command: `calibrate --max-alarms`, `diagnose --data`, `diagnose --engines`, `evaluate --stream`, and
`--data` with `--size` and the like."""


def apart(code: str) -> Any:
    """The JSON that Python code prints in a fresh process."""
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_the_public_functions_are_these_and_all_are_commands() -> None:
    assert sorted(toolkit.__all__) == sorted(toolkit._MODULES) == sorted(ARGUMENTS + VERBS + PARTS)
    assert set(VERBS) <= set(COMMANDS)
    assert {*ARGUMENTS, *VERBS} <= set(dir(toolkit))
    assert all(inspect.isclass(getattr(toolkit, name)) for name in ARGUMENTS)
    for name in VERBS:
        assert inspect.isfunction(getattr(toolkit, name))
        assert getattr(toolkit, name) is getattr(toolkit, name)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        toolkit.trian  # noqa: B018


def test_what_type_checkers_see_is_what_the_table_loads() -> None:
    tree = ast.parse(Path(toolkit.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: (f"edgepress.toolkit.{module}", name) for name, module in toolkit._MODULES.items()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import json, sys, edgepress.toolkit; print(json.dumps(list(sys.modules)))"
    loaded = {name.partition(".")[0] for name in apart(code)}
    assert not loaded & {"numpy", "tensorflow", "keras", "typer", "rich", "PIL", "scipy", "sklearn", "pydantic"}


@pytest.mark.parametrize("name", VERBS)
def test_every_public_function_shows_an_example(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(getattr(toolkit, name).__doc__ or "")
    assert re.search(rf"from edgepress\.toolkit import .*\b{name}\b", examples[0].source)
    assert any(f"{name}(" in example.source for example in examples)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VERBS if name != "demo"])  # test_demo.py runs that
def test_examples_can_be_copied_and_run_beside_a_demo(
    name: str, run: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "edgepress-demo"
    shutil.copytree(run.folder, folder)
    shutil.copytree(pictures, folder / "images")
    if name == "report":
        shutil.copy(Path(__file__).parents[1] / "support" / "benchmark_v1.json", folder / "benchmark.json")
    scope: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(getattr(toolkit, name).__doc__ or ""):
        try:
            value = eval(example.source, scope)
        except SyntaxError:
            exec(example.source, scope)
        else:
            assert not example.want or repr(value) == example.want.strip() or example.want.strip().isdecimal()


def test_the_tree_of_errors_in_the_docstring_is_the_tree_of_classes() -> None:
    code = (
        "import json, edgepress.runtime.errors as r, edgepress.converters.errors, edgepress.toolkit.errors\n"
        "def tree(c): return {s.__name__: [s.__module__, tree(s)] for s in c.__subclasses__()}\n"
        "print(json.dumps(tree(r.EdgepressError)))"
    )
    classes: dict[str, tuple[str, str]] = {}

    def walk(parent: str, children: dict[str, Any]) -> None:
        for name, (module, below) in children.items():
            package = module.removesuffix(".errors")
            classes[name] = parent, "" if package == "edgepress.runtime" else package
            walk(name, below)

    walk("EdgepressError", apart(code))
    drawn: dict[str, tuple[str, str]] = {}
    parents = {0: "EdgepressError"}
    for indent, name in re.findall(r"^    ([│ ├└─]+) ([\w.]+)  ", errors.__doc__ or "", re.MULTILINE):
        package, _, own = name.rpartition(".")
        depth = (len(indent) + 1) // 4
        drawn[own] = parents[depth - 1], package
        parents[depth] = own
    assert drawn == classes


def test_an_opened_data_set_is_shown_in_a_few_lines() -> None:
    data = toolkit.open_data("digits")
    assert len(repr(data)) < 600
    assert "train=Split(1257 items)" in repr(data)
