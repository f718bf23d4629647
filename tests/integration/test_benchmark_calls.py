"""Scripts in `benchmarks/` call functions of edgepress as these are: type checks skip them, and most take hours."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.rglob("*.py"))


def mistakes(text: str) -> Iterator[str]:
    """Imports of names that edgepress does not have, and calls whose arguments its functions do not take."""
    tree = ast.parse(text)
    imported: dict[str, list[tuple[str, str]]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgepress"):
            for alias in node.names:
                imported.setdefault(alias.asname or alias.name, []).append((str(node.module), alias.name))
    functions = {}
    for name, places in imported.items():
        for module, attribute in places:
            owner = importlib.import_module(module)
            if not hasattr(owner, attribute):
                try:
                    importlib.import_module(f"{module}.{attribute}")
                except ModuleNotFoundError:
                    yield f"{module} has no {attribute}"
        if len(places) == 1:  # else, which is meant where is not known
            functions[name] = getattr(importlib.import_module(places[0][0]), places[0][1], None)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        function = functions.get(node.func.id)
        is_open = any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords)
        if not inspect.isfunction(function):
            continue
        bind = inspect.signature(function).bind_partial if is_open else inspect.signature(function).bind
        arguments = [a for a in node.args if not isinstance(a, ast.Starred)]
        try:
            bind(*arguments, **{k.arg: k for k in node.keywords if k.arg})
        except TypeError as e:
            yield f"line {node.lineno}: {node.func.id}: {e}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(BENCHMARKS).as_posix())
def test_a_script_calls_functions_as_they_are(script: Path) -> None:
    assert [*mistakes(script.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("call", "mistake"),
    [
        ("evaluate('a', 'b')", "too many positional"),
        ("evaluate('a', dat='b')", "unexpected keyword"),
        ("evaluate()", "missing a required"),
        ("evaluate('a', data='b')", ""),
        ("evaluate(*files, **options)", ""),
        ("evaluate(*files, dat='b')", "unexpected keyword"),
    ],
)
def test_a_wrong_call_is_seen(call: str, mistake: str) -> None:
    seen = [*mistakes(f"from edgepress.toolkit import evaluate\n{call}")]
    assert bool(seen) == bool(mistake)
    assert mistake in "".join(seen)
    assert [*mistakes("from edgepress.toolkit.text import nothing_of_this_name")]
