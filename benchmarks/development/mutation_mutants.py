"""Mutants of a file: copies of its source with one change each, made by Cosmic Ray."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

OTHERS = {
    name: tuple(others.split())
    for name, others in {
        "Lt": "LtE GtE",
        "LtE": "Lt Gt",
        "Gt": "GtE LtE",
        "GtE": "Gt Lt",
        "Eq": "NotEq",
        "NotEq": "Eq",
        "In": "NotIn",
        "NotIn": "In",
        "Is": "IsNot",
        "IsNot": "Is",
        "Add": "Sub",
        "Sub": "Add",
        "Mul": "Div",
        "Div": "Mul",
        "FloorDiv": "Mul",
        "Mod": "Mul",
        "Pow": "Mul",
        "LShift": "RShift",
        "RShift": "LShift",
        "BitOr": "BitAnd",
        "BitAnd": "BitOr",
        "BitXor": "BitAnd",
    }.items()
}
"""What an operator is replaced by, in Cosmic Ray's names."""


class Mutant(NamedTuple):
    """A module with one change.

    Attributes:
        path: The file.
        function: What was changed: "module.Class.method", or "module" for a constant.
        change: The change: "a < b -> a <= b".
        source: The file's whole text with the change.
    """

    path: Path
    function: str
    change: str
    source: str

    @property
    def name(self) -> str:
        """The key of its reason."""
        return f"{self.function}: {self.change}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """All mutants of a file that compile and differ in what runs."""
    from cosmic_ray.ast import ast_nodes, get_ast  # pyright: ignore[reportMissingImports]
    from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]

    source = path.read_text()
    plain, nodes = _stripped(source), list(ast_nodes(get_ast(source)))
    seen = {ast.dump(plain)}
    for name in filter(_is_used, operator_names()):
        operator = get_operator(name)()
        places = sum(1 for node in nodes for _ in operator.mutation_positions(node))
        for occurrence in range(places):
            try:
                text = mutate_code(source, operator, occurrence)
                changed = _stripped(text or "")
            except (SyntaxError, AttributeError):  # the latter from Cosmic Ray, of exceptions with a dotted name
                continue
            if text is not None and (dump := ast.dump(changed)) not in seen:
                seen.add(dump)
                function, change = _change(plain, changed)
                yield Mutant(path, ".".join([path.stem, *function]), change, text)


def _is_used(operator: str) -> bool:
    kind, *ends = operator.partition("/")[2].split("_")
    if kind in ("ReplaceComparisonOperator", "ReplaceBinaryOperator"):
        return ends[1] in OTHERS.get(ends[0], ())
    return kind not in ("VariableInserter", "VariableReplacer", "NoOp")


def _stripped(source: str) -> ast.Module:
    """The syntax tree without what changes no result: annotations, blocks for type checkers, assertions of zip."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("Any")
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults += [default for default in node.kw_defaults if default is not None]
            node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            node.keywords = []
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.test, node.body = ast.Constant(False), [ast.Pass()]
    return tree


def _change(old: ast.AST, new: ast.AST) -> tuple[list[str], str]:
    """Where two trees differ: the names of the definitions around it, and the code before and after."""
    names: list[str] = []
    best = old, new
    while True:
        if isinstance(old, (ast.FunctionDef, ast.ClassDef)):
            names.append(old.name)
        if isinstance(old, (ast.expr, ast.stmt, ast.comprehension)) and not isinstance(old, (ast.Constant, ast.Name)):
            best = old, new
        pairs = [
            (a, b)
            for (_, one), (_, other) in zip(ast.iter_fields(old), ast.iter_fields(new), strict=True)
            for a, b in itertools.zip_longest(_listed(one), _listed(other))
            if not isinstance(a, ast.AST) or not isinstance(b, ast.AST) or ast.dump(a) != ast.dump(b)
            if a != b
        ]
        if len(pairs) != 1 or not isinstance(pairs[0][0], ast.AST) or type(pairs[0][0]) is not type(pairs[0][1]):
            return names, " -> ".join(_short(*map(ast.unparse, best)))
        old, new = pairs[0]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _short(old: str, new: str, around: int = 40) -> list[str]:
    """Two texts without what is long and alike at both ends."""
    same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = max(0, len(same) - around)
    tail = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old[::-1], new[::-1], strict=False)))
    end = max(0, min(len(tail), len(old) - len(same), len(new) - len(same)) - around)
    return [" ".join(text[start : len(text) - end].split()) for text in (old, new)]
