"""The tutorial runs as it is written, without a network, and its page holds what the notebook says."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
import typer
from scripts import script

from edgepress.toolkit.cli.app import app

ROOT = Path(__file__).parents[2]
NOTEBOOK = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CPU_S = 240.0
"""Seconds of CPU that the notebook may take: under three minutes on two cores, of which one often waits."""
MAX_LINES = 25


def prose() -> str:
    """All words of the notebook."""
    return "\n\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")


def test_the_notebook_is_kept_without_outputs_and_its_cells_are_short() -> None:
    code = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= MAX_LINES


def test_the_page_holds_every_cell_in_order() -> None:
    place = 0
    for cell in NOTEBOOK.cells:
        source = cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"
        found = PAGE.find(source, place)
        assert found >= 0, f"benchmarks/docs/tutorial_page.py writes the page anew; this is not in it:\n{source}"
        place = found + len(source)


def test_the_page_names_no_path_of_the_machine_and_its_pictures_are_there() -> None:
    assert re.findall(r"/(?:tmp|home|root|work|Users)/[\w/.-]*", PAGE) == []
    pictures = re.findall(r"!\[(.+?)\]\(([\w-]+\.(?:png|svg))\)", PAGE)
    assert len(pictures) == PAGE.count("![")
    assert all((ROOT / "docs" / name).exists() for _, name in pictures)


def test_the_page_is_markdown_alone() -> None:
    """Code hosts strip styles and SVG, and show the CSS as text."""
    assert re.findall(r"^<(?!!--).*", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), re.MULTILINE) == []


def test_progress_and_standard_error_are_no_output_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "docs"))
    new, text = nbformat.v4.new_output, {"output_type": "stream"}
    progress = new("display_data", {"text/html": '<p><progress value="1" max="2"></progress> epoch 1/2</p>'})
    table = new("display_data", {"text/html": "<p>a table</p>"})
    outputs = [new(**text, name="stdout", text="a"), new(**text, name="stderr", text="no"), progress]
    outputs += [new(**text, name="stdout", text="b"), table]
    merged = script("benchmarks/docs/tutorial_page.py").merged(outputs)
    assert [output.get("text") for output in merged] == ["ab", None]
    assert merged[1] is table


@pytest.mark.parametrize("line", re.findall(r"`(edgepress [^`]+)`", prose()))
def test_commands_in_the_text_are_accepted(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    group: Any = typer.main.get_command(app)
    found = group.commands.get(name)
    assert found is not None
    if arguments:
        found.make_context(name, arguments)  # parses the options, and runs nothing


@pytest.mark.slow
def test_the_notebook_runs_and_what_it_says_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells assert most of what the text claims; this checks what only a reader's eye would."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "docs"))
    tutorial = script("benchmarks/docs/tutorial_page.py")
    begun, used = time.perf_counter(), tutorial.cpu_s()
    done = tutorial.executed(tmp_path)
    wall, cpu = time.perf_counter() - begun, tutorial.cpu_s() - used
    print(f"the tutorial took {wall:.0f} s, and {cpu:.0f} s of CPU")
    assert cpu < CPU_S
    text, pictures = tutorial.page(done, tmp_path)
    assert {*pictures} == {*re.findall(r"\((tutorial-[\w-]+\.(?:png|svg))\)", PAGE)}
    titles = [re.findall(r"^\*\*.+\*\*$", page, re.MULTILINE) for page in (text, PAGE)]
    assert len(titles[0]) == len(titles[1]) == 9
    assert "UserWarning" not in text
    measured = json.loads((tmp_path / "runs" / "parts" / "variants" / "benchmark.json").read_text())
    assert (
        f"With {measured['data']['count']} test images, one image is {100 / measured['data']['count']:.1f} pp" in text
    )
    assert (tmp_path / "pi" / "app" / "current" / "run").exists()
    assert re.search(r"photos/screw/000\.png: screw 0\.\d+", text)
    assert re.search(r"\[Prediction\(label='screw'", text)
    assert "conv2d" in text.split("diagnosis = ")[1].split("Command:")[0]
