"""docs/evidence.md says what was measured and nothing else."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "docs"))
    return importlib.import_module("evidence")


def test_the_page_is_what_its_measurements_say(evidence: ModuleType) -> None:
    """Nobody wrote a figure into it, and no measurement was left out."""
    assert evidence.PAGE.read_text() == evidence.page(), "python benchmarks/docs/evidence.py writes it"


def test_the_readme_s_table_is_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "docs"))
    maker = importlib.import_module("readme_table")
    found = json.loads((ROOT / "benchmarks" / "docs" / "evidence" / "table.json").read_text())
    table = maker.table(found["document"], found["host"])
    _, shown, _ = (ROOT / "README.md").read_text().split(maker.MARK)
    assert shown == f"\n{table}\n", "python benchmarks/docs/readme_table.py writes it"
    assert found["lines"] == table.splitlines()


def test_paths_of_this_machine_are_not_kept(evidence: ModuleType, tmp_path: Path) -> None:
    text = evidence.without_folders(f"{tmp_path}/real/a.tflite: 5 of 5\n", {"{real}": tmp_path / "real"})
    assert text == "{real}/a.tflite: 5 of 5\n"
    paths = [path for path in evidence.MEASURED.glob("*.json") if re.search(r'[" ]/\w+/', path.read_text())]
    assert paths == []


def test_files_that_a_rival_beats_are_named(evidence: ModuleType) -> None:
    """The page said that there is none: it looked for other words than the script prints."""
    figures = importlib.import_module("evidence_figures")
    worse, slow = "a tflite-int8: converter is better by +0.17 [+0.04, +0.32]", "b onnx-int8: 35.9 s, limit 20"
    document = {"rows": {"natural": {"judged": 9, "not_kept": 2, "reasons": [worse, slow]}}}
    assert figures.worse_than_rivals(document, ()) == worse
    assert figures.kept_limits(document, ()) == f"files that kept their limit, natural: 7 of 9 (not: {slow})"


def test_every_claim_has_a_script_and_every_measurement_a_claim(evidence: ModuleType) -> None:
    names = [claim.name for claim in evidence.CLAIMS]
    assert len(set(names)) == len(names) >= 8
    assert [
        claim.command[0] for claim in evidence.CLAIMS if not (ROOT / "benchmarks" / claim.command[0]).exists()
    ] == []
    assert {path.stem for path in evidence.MEASURED.glob("*.json")} <= set(names)


def test_a_claim_without_a_measurement_says_so_and_a_broken_limit_too(
    evidence: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evidence, "MEASURED", tmp_path)
    assert evidence.page().count("- Not measured.") == len(evidence.CLAIMS)
    assert "Figure:" not in evidence.page()
    found = {
        "document": {"copies": 70, "violations": 3},
        "lines": [],
        "exit_code": 1,
        "command": "faults/corrupted_files.py --copies 70",
        "date": "2026-01-02",
        "host": {"cpu": "Some CPU", "machine": "x86_64", "cores": 4},
        "commit": "abc",
        "load_per_core": 2.0,
        "seconds": 5.0,
    }
    (tmp_path / "corrupted.json").write_text(json.dumps(found))
    page = evidence.page()
    assert page.count("- Not measured.") == len(evidence.CLAIMS) - 1
    assert "70 damaged files, 3 broke a rule" in page
    assert "`benchmarks/faults/corrupted_files.py --copies 70`" in page, "the options that were measured"
    assert "LIMITS NOT KEPT, 2026-01-02" in page
    assert "limits were not kept" in page
    assert "beside other work (load 2 a core)" in page


def test_a_document_is_found_at_the_end_of_an_output(evidence: ModuleType) -> None:
    for shown in (json.dumps({"a": 1, "host": {"name": "x"}}), json.dumps({"a": 1, "b": {}}, indent=2)):
        document, lines = evidence.parsed(f"first\n{{ no document\n{shown}\n")
        assert document["a"] == 1
        assert "host" not in document
        assert lines[0] == "first"
    assert evidence.parsed("one\ntwo\n") == ({}, ["one", "two"])


def test_a_promise_is_shown_with_its_worst_file(evidence: ModuleType) -> None:
    figures = importlib.import_module("evidence_figures")
    lines = [
        f"lenet {scheme}, limit {limit} %: broken {broken} %, covered {covered} %; plug-in broken {plug_in} %; "
        f"bonferroni broken 0.0 %, covered 1.0 %; oracle {oracle} %; one test 1.0 %"
        for scheme, limit, broken, covered, plug_in, oracle in (
            ("a", 5, 2.0, 80.0, 49.0, 87.0),
            ("b", 5, 3.0, 79.0, 47.0, 88.0),
            ("a", 1, 0.5, 20.0, 55.0, 56.0),
        )
    ]
    shown = figures.promises({}, [*lines, "lenet a: accuracy 90.1 %, ECE 1.7 -> 1.1 (at most 1.6)"])
    assert shown.startswith("3 promises; error of 1 %: broken in at most 0.5 % of draws (the usual choice: 55.0 %)")
    assert "5 %: broken in at most 3.0 % of draws (the usual choice: 49.0 %), 79.0 to 80.0 % accepted" in shown
    assert shown.endswith("(at most possible 87.0 to 88.0 %)")


def test_tflm_is_named_where_it_is_ahead(evidence: ModuleType) -> None:
    figures = importlib.import_module("evidence_figures")
    lines = [
        "| file | kernels | RAM | of TFLM's | flash | of TFLM's | instructions | fewer than TFLM's | of CMSIS-NN's |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
        "| a | shared | 9536 + 308 | 0.42 | 35984 | 0.37 | 4.46 M | 9.4 | 1.01 |",
        "| a | specialized | 9536 + 220 | 2.00 | 41988 | 0.43 | 4.22 M | 9.9 | 0.55 |",
        "| b | shared | 768 + 172 | 0.34 | 272504 |  | 0.39 M | 5.0 | 0.67 |",
    ]
    assert figures.exported_code_of_rivals({}, lines) == "a: of CMSIS-NN 1.01"
    shown = figures.exported_code({}, lines)
    assert "a: 9536 + 308 bytes of RAM (0.42 of TFLM's), 35984 of flash (0.37)" in shown
    assert "b: 768 + 172 bytes of RAM (0.34 of TFLM's), 272504 of flash (no figure)" in shown
    assert "9.9" not in shown
