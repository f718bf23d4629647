"""The code keeps the rules of docs/architecture.md: imports go down, no circles, folders explain themselves."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("toolkit", "converters", "runtime")
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def modules() -> dict[str, Path]:
    """Every module by its dotted name below `edgepress`, such as "toolkit.data.types"; a package by its own name."""
    found = {}
    for path in sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "_package" not in parts:  # the module `edgepress` itself
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Dotted names that a file imports, in any scope; a name taken from a module counts as a module if it is one."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule.removeprefix("edgepress.") in MODULES else str(node.module)


def edges() -> dict[str, set[str]]:
    """What each module imports of edgepress. That Python also runs the `__init__` of parent packages is not counted."""
    names = {name: {i.removeprefix("edgepress.") for i in imported(path)} for name, path in MODULES.items()}
    return {name: imports & MODULES.keys() for name, imports in names.items()}


EDGES = edges()


def floors(page: str = PAGE) -> dict[str, int]:
    """The floor of each room, such as "toolkit.data", by the table of the page; the lowest row is 0."""
    table = page.split("<!-- order -->")[1]
    rows = re.findall(r"^\| (\w+) \| (`.+`) \|$", table, flags=re.MULTILINE)
    return {
        f"{package}.{room}": floor
        for floor, (package, rooms) in enumerate(reversed(rows))
        for room in re.findall(r"`([^`]+)`", rooms)
    }


def room_of(module: str) -> str:
    """The nearest folder or module with a place in the table; a folder that only groups rooms is none itself."""
    package, _, rest = module.partition(".")
    if package == "runtime":
        return "runtime.*"
    rooms = [room for room in floors() if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len, default=f"{package}.{rest or '__init__'}")


def is_group(module: str) -> bool:
    """Whether a module is the docstring of a folder whose rooms have places of their own."""
    return not EDGES[module] and any(room.startswith(f"{module}.") for room in floors()) and "." in module


def upward(floor: dict[str, int]) -> list[str]:
    """Imports that leave their room other than downwards, as "importer -> imported"."""
    pairs = [(name, other) for name, others in sorted(EDGES.items()) for other in sorted(others)]
    rooms = [(name, other, room_of(name), room_of(other)) for name, other in pairs]
    return [f"{name} -> {other}" for name, other, a, b in rooms if a != b and floor[a] <= floor[b]]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module, and modules that import themselves (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            component = sorted(stack[start:])
            del stack[start:]
            if len(component) > 1 or node in graph[node]:
                found.append(component)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    assert {room_of(name) for name in MODULES if not is_group(name)} == floors().keys()


def test_the_tree_lists_the_rooms_of_the_table() -> None:
    listed, package = set(), ""
    for line in PAGE.split("```text")[1].split("```")[0].splitlines():
        if top := re.match(r"([\w.]+)/ ", line):
            package = top[1]
        elif rooms := re.match(r"  ((?:\w+/?, )*\w+/?)  ", line):
            listed |= {f"{package}.{room.rstrip('/')}" for room in rooms[1].split(", ")}
    folders = {".".join(room.split(".")[:2]) for room in floors()}
    assert {room for room in listed if not room.startswith("runtime.")} == folders - {"runtime.*"}


def test_imports_go_down() -> None:
    assert upward(floors()) == []


def test_two_rows_that_change_places_are_noticed() -> None:
    rows = ("| toolkit | `results.remarks` |", "| toolkit | `data` |")
    turned = PAGE.replace(rows[0], "HERE").replace(rows[1], rows[0]).replace("HERE", rows[1])
    new = set(upward(floors(turned))) - set(upward(floors()))
    assert new == {"toolkit.results.remarks.facts -> toolkit.data.types"}


def test_no_circles() -> None:
    assert circles(EDGES) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"d"}, "e": {"a"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["d"]]


def test_what_runs_in_child_processes_imports_little() -> None:
    light, interpreters = {*sys.stdlib_module_names, "numpy"}, {"ai_edge_litert", "onnxruntime", "openvino"}
    for name in (n for n in MODULES if n.startswith("toolkit.workers")):
        others = set(imported(MODULES[name]))
        ours = {o for o in others if o.startswith(("edgepress.runtime", "edgepress.toolkit.workers"))}
        others -= {*ours, "edgepress.converters.process.worker"}
        assert {o.partition(".")[0] for o in others} <= light | interpreters, name
        at_import = {o.partition(".")[0] for o in imported(MODULES[name], inside_functions=False)}
        assert not at_import & interpreters, name


def defined(path: Path) -> set[str]:
    """The names at the top of a module, those that it imports among them, as far as they are not made while it runs."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_what_there_is(path: Path) -> None:
    """Nothing else notices: they are run by hand, on a quiet machine, and are not type-checked."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("edgepress."):
            module = str(node.module).removeprefix("edgepress.")
            assert module in MODULES, f"{path.name} imports {node.module}"
            lazy = MODULES[module].name == "__init__.py"  # modules below it, or loaded when first used
            wanted = {alias.name for alias in node.names} - (set() if not lazy else lazily(module))
            missing = wanted - defined(MODULES[module])
            assert not missing, f"{path.name} imports {missing} of {node.module}"


def test_benchmarks_find_the_scripts_that_they_import() -> None:
    """From any folder: a script names the folders of others in `sys.path`."""
    scripts = {path.stem: path for path in (ROOT / "benchmarks").rglob("*.py")}
    for path in scripts.values():
        source = path.read_text()
        named = "".join(re.findall(r"^sys\.path.*?parents\[1\] / (.*)$", source, flags=re.MULTILINE))
        folders = {path.parent.name, *re.findall(r'"(\w+)"', named)}
        nodes = [*ast.walk(ast.parse(source))]
        wanted = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        wanted |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        lost = {name for name in wanted & scripts.keys() if scripts[name].parent.name not in folders}
        assert lost == set(), f"{path} does not find {lost}"


def test_every_benchmark_has_a_row_that_names_its_pages() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    folders = {part.partition(":")[0]: part for part in text.split("\n## ")[1:]}
    rows = {
        f"{folder}/{script}": re.findall(r"\]\(\.\./([\w/-]+\.md)\)", row)
        for folder, part in folders.items()
        for script, row in re.findall(r"^\| `(\w+\.py)` (\|.*)$", part, flags=re.MULTILINE)
    }
    main = {
        path.relative_to(ROOT / "benchmarks").as_posix()
        for path in (ROOT / "benchmarks").rglob("*.py")
        if re.search(r"^    python benchmarks/", path.read_text(), re.MULTILINE)
    }
    assert main - rows.keys() == set(), "scripts without a row"
    assert [name for name in rows if not (ROOT / "benchmarks" / name).exists()] == []
    unnamed = [(name, page) for name, pages in rows.items() for page in pages if name not in (ROOT / page).read_text()]
    assert unnamed == [], "pages that do not name the script"


def lazily(package: str) -> set[str]:
    """The modules of a package, and every text in its `__init__`: `toolkit` names so what it loads when first used."""
    inside = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == package}
    tree = ast.parse(MODULES[package].read_text())
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return inside | texts


def test_undocumented_interfaces_are_used_where_the_page_says_and_bounded() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| .+? \| (`.+?`) \|", PAGE.split("<!-- private -->")[1], flags=re.MULTILINE)
    assert rows
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bounded = {re.split(r"[<>=;\[ ]", line)[0] for lines in extras.values() for line in lines if "<" in line}
    for library, places in rows:
        assert library in bounded, f"pyproject.toml sets no upper bound for {library}"
        for place in re.findall(r"`([^`]+)`", places):
            assert library.replace("-", "_") in (ROOT / place).read_text().lower(), f"{place} does not use {library}"
    schema = next(re.findall(r"`([^`]+)`", places) for _, places in rows if "flatbuffer.py" in places)
    users = {
        path.relative_to(ROOT).as_posix() for path in MODULES.values() if "schema_py_generated" in path.read_text()
    }
    assert users == set(schema)


FOLDERS = sorted(path.parent for path in MODULES.values() if path.name == "__init__.py")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_folder_says_what_lives_there_and_what_may_not(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    prose = " ".join(line for line in text.splitlines() if not line.startswith(("  ", ">>>")))
    assert len(re.findall(r"[\w`)]\.(?:\s|$)", prose)) >= 2, "one sentence for what lives there, one for what may not"


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"], ids=lambda p: p.name
)
def test_links_of_the_documentation_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
