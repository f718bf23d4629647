"""Execute docs/tutorial.ipynb and write its page, docs/tutorial.md, with the outputs of this run.

    python benchmarks/docs/tutorial_page.py

The notebook is kept without outputs; the page is what a reader sees who does not run it. What goes to standard error
(progress, TensorFlow's remarks) is left out. tests/integration/test_tutorial.py executes the notebook, too, and checks
that the page holds its cells.
"""

from __future__ import annotations

import base64
import re
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from result_markdown import Plots, result_markdown

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
HEAD = "<!-- Written by benchmarks/docs/tutorial_page.py from tutorial.ipynb. -->"
LIMIT_S = 1200
"""Seconds that one cell may take."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def main() -> None:
    """Write the page and its pictures."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = executed(Path(folder))
        text, pictures = page(done, Path(folder))
    for name, content in pictures.items():
        (PAGE.parent / name).write_bytes(content)
    PAGE.write_text(text, encoding="utf-8")
    print(
        f"{PAGE}: executed in {time.perf_counter() - begun:.0f} s ({cpu_s():.0f} s of CPU), {len(text) / 1000:.0f} kB"
    )


def cpu_s() -> float:
    """Seconds of CPU that the processes took that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def executed(folder: Path) -> Any:
    """The notebook with its outputs, after running in a folder; nbclient.CellExecutionError if a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=LIMIT_S, resources=resources).execute()


def page(notebook: Any, folder: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of an executed notebook, and its pictures by file name; paths to the folder become relative."""
    parts, pictures, plots = [HEAD], dict[str, bytes](), Plots(PAGE.stem)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in merged(cell.outputs):
            parts += _output(output, cell, pictures, plots)
    text = "\n\n".join(parts) + "\n"
    for path in {str(folder), str(folder.resolve())}:
        text = text.replace(f"{path}/", "")
    return text, pictures | plots.files


def merged(outputs: list[Any]) -> list[Any]:
    """The outputs without progress and standard error, and texts that follow each other as one."""
    found: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].output_type == "stream" and output.name == "stdout":
            found[-1].text += output.text
        elif "<progress" in output.get("data", {}).get("text/html", ""):
            continue
        elif output.output_type != "stream" or output.name == "stdout":
            found.append(output)
    return found


def _output(output: Any, cell: Any, pictures: dict[str, bytes], plots: Plots) -> Iterator[str]:
    data = output.get("data", {})
    if output.output_type == "stream":
        lines = ANSI.sub("", output.text).rstrip()
        if lines:
            yield f"```text\n{lines}\n```"
    elif "text/html" in data:
        yield result_markdown(data["text/html"], plots)
    elif "image/png" in data:
        name = f"tutorial-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode(data["image/png"])
        yield f"![{cell.metadata['alt']}]({name})"
    elif "text/plain" in data:
        yield f"```text\n{data['text/plain']}\n```"


if __name__ == "__main__":
    main()
