"""Tables on screens of any width: no figure, state or name of a scheme is cut or broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configuring import apart, edgepress
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.toolkit.cli import screen
from edgepress.toolkit.terminal import Text

__all__ = ["apart"]
WIDTHS = (60, 80, 120)
WORDS = st.text("abcdefg", min_size=1, max_size=screen.WHOLE)
CELLS = st.lists(WORDS, max_size=6).map(" ".join)


@settings(max_examples=15)
@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=2, max_size=4)))
def test_every_word_stays_whole(cells: list[list[str]]) -> None:
    from rich.console import Console

    columns, *rows = cells
    for width in WIDTHS:
        console = Console(width=width)
        with console.capture() as captured:
            console.print(screen.table([(name, "left") for name in columns], rows, room=width))
        shown = captured.get()
        assert max(map(len, shown.splitlines()), default=0) <= width
        words = {word for row in rows for cell in row for word in cell.split()}
        assert words <= {*shown.replace(";", " ").replace(":", " ").split()}


def test_columns_become_lines_where_they_have_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [("File", "left"), *((f"Figure{n}", "right") for n in range(9)), ("Status", "left")]
    rows: list[list[str | Text]] = [["model-int8.tflite", *("1.23456" for _ in range(9)), Text("unproven")]]
    screen.show(screen.table(columns, rows, room=60))
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].strip() == "model-int8.tflite"
    assert "Status: unproven" in shown


@pytest.mark.slow
def test_the_tables_of_commands_show_their_states_on_narrow_screens(
    run: Any, apart: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [str(run.variants[name]) for name in ("tflite-float32", "tflite-int8", "onnx-int8")]
    commands: dict[tuple[str, ...], list[str]] = {
        ("benchmark", *files, "--rounds", "1", "--out", "out", "--max-drop", "50"): ["tflite-runtime", "proven"],
        ("inspect", files[1], "--nodes"): ["FULLY_CONNECTED", "softmax"],
        ("evaluate", files[1]): ["macro", "Most"],
        ("compare", "out", "out"): ["litert", "onnxruntime"],
        ("doctor",): ["onnxruntime", "works"],
        ("engine", "list"): ["tflite-runtime", "litert"],
        ("profile", files[1], "--runs", "2"): ["yes", "%"],
    }
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        for words, shown in commands.items():
            edgepress(*words)
            printed = capfd.readouterr().out
            assert "…" not in printed, words
            for word in shown:
                if word != "tflite-runtime" or words[0] == "engine":
                    assert word in printed.split() or word in printed.replace(":", " ").replace(";", " ").split(), (
                        width,
                        words,
                        word,
                    )
    assert Path("out/benchmark.json").exists()
