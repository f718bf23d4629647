"""Measure how many wrong changes to code that decides and computes the tests notice: mutation testing.

    pip install cosmic-ray==8.7.0
    python benchmarks/development/mutation.py --sample 60               # 60 mutants a room
    python benchmarks/development/mutation.py --rooms stats,comparison  # every mutant of two rooms
    python benchmarks/development/mutation.py --named                   # those of `mutation_named.toml` alone

Cosmic Ray makes the mutants: one operator, number, condition, loop, keyword or decorator changed at a time. It was
chosen over mutmut because it mutates a string of source code, so that nothing has to know that `toolkit/` is installed
as `edgepress.toolkit`, and because it mutates constants of a module and decorated functions, which mutmut leaves alone.
Its own runner starts the test command anew for each mutant, which takes seconds; here the libraries are imported once,
and each mutant gets a fork that imports the mutated source in place of the module and runs the tests of its room until
one fails. No file is changed.

Of Cosmic Ray's operators only those are used that programmers' mistakes look like: `<` becomes `<=` and `>=`, but not
`is`; `+` becomes `-`, but not `<<`. Mutants that do not compile, or that differ only in annotations, in `strict` of zip
or in how arguments may be passed, are not counted.

The score of a room is the share of its mutants that make a test fail, or run into the time limit. Survivors are listed
with their reason from `mutation_survivors.toml`, or without one: those are what tests miss. Each is named by its
function and by its change, so that the reason stays when code moves. Exit code 1: the score is below `--least`, or a
deliberate mistake survived.
"""

from __future__ import annotations

import argparse
import ast
import collections
import importlib
import importlib.machinery
import itertools
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS, NAMED = (Path(__file__).with_name(f"mutation_{name}.toml") for name in ("survivors", "named"))


class Room(NamedTuple):
    """Files that are mutated, and the tests that must notice.

    Attributes:
        files: Patterns below the root.
        tests: Names of modules of tests/unit or, if there is none, of tests/integration: "stats" is `test_stats.py`.
            `*` stands for the tests of the mutated file in `TESTS`.
    """

    files: str
    tests: str


PUBLISHING = "toolkit/publishing/entries.py toolkit/publishing/expiry.py toolkit/publishing/publish.py"
"""What decides about releases; the rest of that room writes files."""
UPDATES = "runtime/updates/releases.py runtime/updates/state.py"
"""What decides which release a board takes, and what it remembers."""
TESTS = {
    "adaround": "tuning_rounding",
    "layer_rounding": "tuning_rounding",
    "bias_absorption": "tuning_centre",
    "bias_correction": "tuning_centre tuning_repair",
    "calibration": "methods",
    "channel_links": "tuning_groups",
    "channel_ranges": "tuning_centre tuning_limits",
    "channel_scales": "tuning_groups tuning_equalize",
    "equalization": "equalize tuning_limits tuning_equalize",
    "pipeline": "tuning_repair",
    "plan": "pruning_plan",
    "importance": "pruning",
    "links": "pruning",
    "remove": "pruning",
    "units": "pruning",
    "score": "judge methods",
    "stages": "tuning_repair",
    "channel_affine": "rewrite_joins",
    "concat_tree": "rewrite_joins",
    "fold_pool": "rewrite_joins",
    "dense_products": "rewrite_small_products",
    "float16_biases": "rewrite_float16",
    "single_mean": "rewrite_fold_normalization",
    "windows": "rewrite_line_pads rewrite_wide_taps rewrite_unused_taps rewrite_grouped_depthwise",
    "int8": "rewrite_integer_kernels rewrite_lookup_islands",
    "layer_norm": "rewrite_layer_norm rewrite_onnx_dense",
    "dense": "rewrite_onnx_dense",
    "gelu": "rewrite_onnx_dense",
    "float_gelu": "rewrite_onnx_dense onnx_emission_turns",
    "depthwise_channels": "rewrite_onnx_int8",
    "quantized_hard_sigmoid": "rewrite_onnx_int8",
    "relu_bytes": "rewrite_onnx_int8",
    "swish": "rewrite_onnx_int8 rewrite_onnx_int8_input",
    "first_convolution": "rewrite_onnx_int8_input",
    "input_bytes": "rewrite_onnx_int8_input",
    "input_zero": "rewrite_onnx_int8_input",
    "hard_gates": "rewrite_onnx_float",
    "hard_sigmoid": "rewrite_onnx_float",
    "input_scale": "rewrite_onnx_float",
    "pads": "rewrite_onnx_float",
    "plain_shapes": "rewrite_onnx_float",
    "pool_strides": "rewrite_onnx_float",
}
"""The tests of files of repairs, pruning and rewrites; those of another rewrite are in "rewrite_" and its name."""
ROOMS = {
    "stats": Room(
        "toolkit/stats/*.py",
        "stats posterior choice remarks_items intervals metrics acceptance temperature expected",
    ),
    "comparison": Room(
        "toolkit/comparison/*.py",
        "comparison gates matching comparison_text compare_models compare",
    ),
    "results": Room("toolkit/results/*.py", "results results_file"),
    "splits": Room("toolkit/data/splits.py", "splits data_splits"),
    "contract": Room("runtime/contract.py", "contract_fields contract"),
    "selftest": Room("runtime/selftest.py", "selftest_tolerance selftest"),
    "advice": Room("toolkit/benchmarking/advice.py", "advice"),
    "more": Room("toolkit/benchmarking/more.py", "benchmark_more"),
    "formats": Room("toolkit/data/idx.py toolkit/data/npz.py toolkit/text.py", "data_formats data_idx data text"),
    "archive": Room("toolkit/bundles/archive.py toolkit/bundles/manifest.py", "archive"),
    "expected": Room("toolkit/benchmarking/expected.py toolkit/benchmarking/accepted.py", "expected accepted"),
    "drift": Room("runtime/drift.py runtime/scenes.py", "drift drift_proof"),
    "acceptance": Room(
        "runtime/acceptance.py toolkit/calibrating/fit.py converters/temperature.py", "acceptance temperature drift"
    ),
    "compression": Room(
        "toolkit/compression/limits.py toolkit/compression/search.py toolkit/compression/trial.py",
        "trial compress",
    ),
    "sweeping": Room(
        "toolkit/sweeping/front.py toolkit/sweeping/proposals.py toolkit/sweeping/search.py toolkit/sweeping/space.py",
        "search",
    ),
    "publishing": Room(PUBLISHING, "publishing"),
    "updates": Room(UPDATES, "releases publishing update_state"),
    "bounds": Room("converters/to_c/bounds.py", "c_bounds"),
    "proof": Room("converters/proof/compare.py converters/proof/labels.py", "lost_labels verification"),
    "repairs": Room("converters/ptq/*.py", "*"),
    "pruning": Room("converters/pruning/*.py", "*"),
    "retraining": Room("toolkit/retraining/sizes.py", "retraining_sizes"),
    "rewrites": Room("converters/rewrites/*/*.py", "*"),
}
PRELOAD = (
    "numpy scipy.stats sklearn.metrics hypothesis pydantic typer rich.table PIL.Image psutil jinja2 _pytest.python"
)
"""Imported once, before the forks."""
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
FOLDERS = ("unit", "integration")
"""Folders of tests."""
TOO_LONG = "time limit"
LIMIT_BYTES = 8 << 30
"""Of a fork's memory: a mutant may ask for all of it."""
EXAMPLES = 25
"""Examples of a property that Hypothesis tests, where the test does not say how many."""


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


class Outcome(NamedTuple):
    """A mutant, whether a test noticed it, and how."""

    mutant: Mutant
    killed: bool
    how: str


def main() -> int:
    """Run the mutants and print the scores."""
    args = _arguments()
    sys.path[:0] = [str(ROOT / ".types"), *(str(ROOT / "tests" / part) for part in ("support", *FOLDERS))]
    os.chdir(ROOT)
    _links()
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "EDGEPRESS_EXAMPLES": str(EXAMPLES)}
    for name in PRELOAD.split():
        importlib.import_module(name)
    reasons = tomllib.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}
    unnoticed = _named(args) if args.rooms is None or args.named else 0
    if args.named:
        return 1 if unnoticed else 0
    print(f"{f'A sample of {args.sample} mutants a room, seed {args.seed}' if args.sample else 'Every mutant'}:\n")
    outcomes: dict[str, list[Outcome]] = {}
    for name in args.rooms or ROOMS:
        room = ROOMS[name]
        files = sorted(path for pattern in room.files.split() for path in ROOT.glob(pattern))
        mutants = [m for path in files for m in mutants_of(path)]
        if args.sample:
            mutants = random.Random(args.seed).sample(mutants, min(args.sample, len(mutants)))
        outcomes[name] = _judged_by_tests(mutants, room, args.jobs)
        _report(name, outcomes[name], reasons)
    every = [o for found in outcomes.values() for o in found]
    killed = sum(o.killed for o in every)
    bare = sum(not o.killed and o.mutant.name not in reasons for o in every)
    score = 100 * killed / max(1, len(every))
    print(f"\nOverall: {killed} of {len(every)} mutants killed, {score:.1f} %; {bare} survivors without a reason.")
    return 1 if score < args.least or unnoticed else 0


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", type=lambda text: text.split(","), help=f"of {','.join(ROOMS)}; default: all")
    parser.add_argument("--sample", type=int, default=0, help="mutants a room; default: every one")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="forks at a time")
    parser.add_argument("--least", type=float, default=85.0, help="score below which the exit code is 1, percent")
    parser.add_argument("--named", action="store_true", help="only the deliberate mistakes")
    return parser.parse_args()


def _links() -> None:
    """The links that make the folders importable as edgepress.*, as `./check` makes them."""
    folder = ROOT / ".types" / "edgepress"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"__init__.py": "runtime/_package/__init__.py"} | {p: p for p in ("toolkit", "converters", "runtime")}
    for link, target in parts.items():
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(Path("..", "..", target))


# Mutants.


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


# Tests.


def _judged_by_tests(mutants: Sequence[Mutant], room: Room, jobs: int) -> list[Outcome]:
    """Run the tests of each mutant's file against it."""
    groups: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        own = TESTS.get(mutant.path.stem, f"rewrite_{mutant.path.stem}")
        groups.setdefault(room.tests.replace("*", own), []).append(mutant)
    return [outcome for tests, group in groups.items() for outcome in _judged(group, tests, jobs)]


def _judged(mutants: Sequence[Mutant], tests: str, jobs: int) -> Iterator[Outcome]:
    """Run the tests against each mutant, a few at a time."""
    files = [_test_file(name) for name in tests.split()]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        _warm(files, folder)
        began = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(_fork(None, files, f"{folder}/plain", 600), 0)[1])
        if code != 0:
            raise SystemExit(f"The tests fail without a mutant (exit code {code}): pytest {' '.join(files)}")
        limit_s = 10 + round(10 * (time.monotonic() - began))
        waiting, running = collections.deque(enumerate(mutants)), {}
        while waiting or running:
            while waiting and len(running) < jobs:
                number, mutant = waiting.popleft()
                base = f"{folder}/{number}"
                running[_fork(mutant, files, base, limit_s)] = mutant, base
            child, status = os.wait()
            mutant, base = running.pop(child)
            shutil.rmtree(base, ignore_errors=True)
            code = os.waitstatus_to_exitcode(status)
            how = TOO_LONG if code == -signal.SIGALRM else f"exit code {code}"
            yield Outcome(mutant, code != 0, how)


def _test_file(name: str) -> str:
    """The module of tests of a name.

    Raises:
        SystemExit: There is none.
    """
    paths = [ROOT / "tests" / folder / f"test_{name}.py" for folder in FOLDERS]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise SystemExit(f"There are no tests of the name {name}.")
    return str(found)


def _warm(files: Sequence[str], folder: str) -> None:
    """Import whatever the tests import, then forget all of it that is ours."""
    import pytest

    with open(os.devnull, "w") as null:
        kept = os.dup(1)
        os.dup2(null.fileno(), 1)
        pytest.main([*_options(f"{folder}/warm"), "--collect-only", *files])
        os.dup2(kept, 1)
        os.close(kept)
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] == "edgepress" or place.startswith(f"{ROOT}{os.sep}tests"):
            del sys.modules[name]


def _options(base: str) -> list[str]:
    return ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={base}"]


def _fork(mutant: Mutant | None, files: Sequence[str], base: str, limit_s: int) -> int:
    """Start a fork that runs the tests, and return its number; it exits as pytest does."""
    import pytest

    sys.stdout.flush()
    if child := os.fork():
        return child
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_s)
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if mutant is not None:
            _put_in_place(mutant)
        os._exit(int(pytest.main([*_options(base), *files])))
    except BaseException:  # whatever a mutant raises, it was noticed
        os._exit(99)


def _put_in_place(mutant: Mutant) -> None:
    """Let the import of a module take the mutant's source."""
    plain = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, name: str) -> Any:
        if Path(self.path).resolve() == mutant.path:
            return compile(mutant.source, self.path, "exec", dont_inherit=True)
        return plain(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


# What is printed.


def _named(args: Any) -> int:
    """The deliberate mistakes: how many survived."""
    groups: dict[str, list[Mutant]] = {}
    lost = []
    for what, row in tomllib.loads(NAMED.read_text()).items():
        paths = [path for pattern in row["file"].split() for path in sorted(ROOT.glob(pattern))]
        found = next((path for path in paths if row["before"] in path.read_text()), None)
        if found is None:
            lost.append(what)
        else:
            source = found.read_text().replace(row["before"], row["after"], 1)
            groups.setdefault(row["tests"], []).append(Mutant(found, found.stem, what, source))
    outcomes = [o for tests, mutants in groups.items() for o in _judged(mutants, tests, args.jobs)]
    print("Deliberate mistakes:\n")
    for o in outcomes:
        print(f"  {'killed   ' if o.killed else 'SURVIVED '} {o.mutant.change}")
    for what in lost:
        print(f"  NOT FOUND {what}: the code to change is not there")
    print()
    return len(lost) + sum(not o.killed for o in outcomes)


def _report(room: str, outcomes: Sequence[Outcome], reasons: dict[str, str]) -> None:
    killed, slow = sum(o.killed for o in outcomes), sum(o.how == TOO_LONG for o in outcomes)
    score = 100 * killed / max(1, len(outcomes))
    print(f"{room}: {killed} of {len(outcomes)} killed, {score:.1f} %{f'; {slow} by the time limit' if slow else ''}")
    for o in outcomes:
        if not o.killed:
            print(f"  survived  {o.mutant.name}\n            {reasons.get(o.mutant.name, 'NO REASON')}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
