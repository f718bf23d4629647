"""A walk over all commands with labels, class names, names of files and results that a screen would interpret.

`WALK` has a row for each command: a new one fails `test_every_command_is_walked` until it has one.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_files import Foreign
from hostile_screens import in_turn
from hostile_text import BYTES_NAME, LABELS, LONG, MARKS, NAMES, assert_plain, unfolded

from edgepress.runtime.__main__ import main as runtime_main
from edgepress.runtime.contract import Contract, read_contract
from edgepress.runtime.text import one_line
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.reference import every_command
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError, ModelFileError
from edgepress.toolkit.reports.report import report

Words = list[list[object]]
WALK: dict[str, Callable[[Foreign], Words]] = {
    "demo": lambda f: [["--out", f.model], ["--out", f.folder / NAMES[6]]],
    "init": lambda f: [["--data", f.classes, "--out", f.folder / f"{NAMES[1]}.toml", "--overwrite"]],
    "train": lambda f: [["--data", f.classes, "--arch", "dense", "--epochs", 1, "--out", f.folder / NAMES[2]]],
    "evaluate": lambda f: [[f.model, "--data", f.data], [f.model, "--data", f.data, "--json"]],
    "convert": lambda f: [[f.keras, "--data", f.data, "--to", "tflite-int8", "--out", f.folder / NAMES[4]]],
    "tune": lambda f: [[f.keras, "--data", f.data, "--minutes", 0.01, "--out", f.folder / "tuned"]],
    "compress": lambda f: [
        [f.keras, "--data", f.data, "--max-size", "1B", "--minutes", 0, "--out", f.folder / "small"]
    ],
    "prune": lambda f: [[f.keras, "--data", f.data, "--macs", "90%", "--minutes", 0.01, "--out", f.folder / "pruned"]],
    "sweep": lambda f: [
        [
            "--data",
            f.classes,
            "--arch",
            "dense",
            "--size",
            8,
            "--epochs",
            1,
            "--to",
            "tflite-int8",
            "--out",
            f.folder / "s",
        ]
    ],
    "benchmark": lambda f: [[f.model, "--data", f.data, "--rounds", 2, "--out", f.folder / NAMES[5]]],
    "profile": lambda f: [[f.model, "--runs", 5, "--plot", f.folder / "layers.svg"]],
    "diagnose": lambda f: [
        [f.model],
        [f.keras, f.model, "--data", f.data],
        [f.model, "--engines", "litert,c99", "--data", f.data],
    ],
    "report": lambda f: [[each, "--format", "md"] for each in f.results[::2]],
    "compare": lambda f: [
        [f.results[n], f.results[n + 1], "--fail-if", "size>1%", "--format", ("text", "md")[n % 8 // 4]]
        for n in range(0, 9, 4)
    ],
    "predict": lambda f: [[f.model, f.classes], [f.long, *f.pictures], [f.model, f.pictures[0], "--json"]],
    "play": lambda f: [[f.folder / NAMES[0]]],
    "calibrate": lambda f: [[f.model, "--data", f.data, "--max-rejected", "30%", "--out", f.folder / "calibrated"]],
    "label": lambda f: [[f.folder / NAMES[0]], [f.folder, "--labels", f"{NAMES[0]}/,x", "--no-open"]],
    "improve": lambda f: [[f.folder / NAMES[0], "--new", f.folder / NAMES[1]], [f.folder, "--new", f.data]],
    "annotate": lambda f: [[f.model, "--labels", f.folder / "data.npz", "--out", f.folder / "a.tflite"]],
    "inspect": lambda f: [[f.model], [f.long], [f.model, "--json"]],
    "bundle": lambda f: [
        [f.model, "--name", NAMES[0]],
        [f.model, "--name", "app", "--data", f.data, "--out", f.folder / "a.zip"],
    ],
    "export": lambda f: [
        [f.model, "--out", f.folder / NAMES[3]],
        [f.model, "--data", f.data, "--samples", 2, "--out", f.folder / "c99"],
        [f.model, "--board", NAMES[4]],
    ],
    "verify": lambda f: [[f.model]],
    "publish init": lambda f: [["--to", f.folder / NAMES[2], "--keys", f.folder / NAMES[3], "--url", NAMES[4]]],
    "publish add": lambda f: [[f.model, "--to", f.folder / NAMES[1], "--keys", f.folder / NAMES[0]]],
    "publish rotate": lambda f: [["--to", f.folder / NAMES[1], "--keys", f.folder, "--role", "root"]],
    "publish withdraw": lambda f: [[NAMES[1], 1, "--to", f.folder / NAMES[2], "--keys", f.folder]],
    "publish renew": lambda f: [["--to", f.folder / NAMES[1], "--keys", f.folder / NAMES[3]]],
    "publish check": lambda f: [["--to", f.folder / NAMES[1], "--keys", f.folder / NAMES[0]]],
    "publish trust": lambda f: [[f.model, "--to", f.folder / NAMES[1], "--keys", f.folder / NAMES[0], "--json"]],
    "board info": lambda f: [[NAMES[3]]],  # boards that answer: test_what_a_board_says_is_text
    "board bench": lambda f: [[NAMES[3], f.model]],
    "board collect": lambda f: [[NAMES[3]], ["127.0.0.1:1", "--folder", NAMES[2], "--out", f.folder / NAMES[1]]],
    "board push": lambda f: [[NAMES[3], f.model]],
    "board fleet": lambda f: [[f.model, f.model], [f.folder / NAMES[3], f.model, "--json"]],
    "engine list": lambda f: [[]],
    "engine add": lambda f: [[NAMES[3]]],
    "engine remove": lambda f: [[NAMES[3]]],
    "doctor": lambda f: [[f"--{NAMES[3]}"], []],
}
"""What each command is called with: a stranger's files, or names where it takes none."""
SLOW = {"demo", "train", "convert", "tune", "compress", "prune", "sweep", "benchmark", "diagnose", "bundle"}
"""Commands whose walk takes more than a few seconds."""
TAKES_NO_PATH = {"demo", "doctor", "engine list", "init", "train", "sweep"}
"""Commands that are called with a wrong option instead of a wrong path."""
SHOWS = {"evaluate": 5, "report": 5, "compare": 5, "predict": 5, "inspect": 1}
"""Commands that print labels or names of rows, and how many of `MARKS` are seen at least."""


def test_every_command_is_walked() -> None:
    import typer

    group: Any = typer.main.get_command(app)
    words = {" ".join(each) for each in every_command(group)} - {"", "board", "engine", "publish"}
    assert {*WALK} == words


@pytest.mark.slow
@in_turn(*WALK, slow=SLOW)
def test_a_command_prints_strangers_texts_as_texts(name: str, foreign: Foreign, screens: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    everything = ""
    for words in WALK[name](foreign):
        code, out, err = screens(*name.split(), *words)
        assert code in (0, 1, 2, 3)
        everything += out + err
    shown = unfolded(everything).replace("\\\\", "\\").replace("\\[", "[").replace("\\]", "]").replace("\\_", "_")
    assert sum(mark in shown for mark in MARKS) >= SHOWS.get(name, 0), everything[:3000]


@in_turn(*WALK, "")
def test_an_error_shows_what_was_given_as_text(name: str, screens: Any, monkeypatch: Any) -> None:
    """A path that is not there, an option or a command that does not exist: two of the texts for each command."""
    monkeypatch.setenv("EDGEPRESS_CONFIG", os.devnull)
    texts = (NAMES[0] + NAMES[1], NAMES[3] + NAMES[4], NAMES[9] + NAMES[6], NAMES[5] * 40)
    for text in texts[[*WALK, ""].index(name) // 2 % 2 :: 2]:
        given = [f"--{text}"] if name in TAKES_NO_PATH else [text, *["--to=x"] * (name == "convert")]
        code, out, err = screens(*name.split(), *given)
        assert code != 0, out + err


@pytest.mark.slow
@in_turn("classify", "watch", "info", "bench", "selftest", "doctor", "camera")
def test_the_runtime_prints_strangers_texts_as_texts(
    name: str, foreign: Foreign, screens: Any, monkeypatch: Any
) -> None:
    def seen_once(folder: Path) -> Iterator[Path]:
        yield from sorted(folder.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("edgepress.runtime.frames.new_images", seen_once)
    files = [foreign.classes / NAMES[0], foreign.pictures[0], foreign.folder / NAMES[4]] if name == "classify" else []
    files += [foreign.pictures[0].parent] if name == "watch" else []
    more = {
        "bench": ["--threads", "1", "--seconds", "0.1"],
        "camera": ["--device", "99"],
        "classify": ["--top", "10"],
        "watch": ["--top", "10"],
    }
    models: list[list[object]] = [[]] if name == "doctor" else [[foreign.model], [foreign.long], [NAMES[3]]]
    for given in models:
        for form in ([], ["--json"]):
            code, out, _ = screens(name, *given, *files, *more.get(name, ()), *form, start=runtime_main)
            assert code in (0, 1)
            if given == [foreign.model] and not form and name in ("classify", "watch", "info"):
                assert sum(mark in unfolded(out) for mark in MARKS) >= 5, out
            if form:
                assert all(json.loads(line) for line in out.splitlines())
    assert screens("classify", f"--{NAMES[3]}", start=runtime_main)[0] == 2


@pytest.mark.slow
def test_a_report_in_each_form_shows_texts(foreign: Foreign, tmp_path: Path) -> None:
    """The page as its reader decodes it, and the card: no label is markup, none is lost; `WALK` prints Markdown."""
    for folder in foreign.results[::2]:
        number = int(folder.name.partition("-")[2])
        label = (*LABELS, LONG[:1500])[number]
        for form in ("html", "card"):
            if form == "card" and folder.name.startswith("sweep"):
                continue
            text = report(folder, format=form, out=tmp_path / f"{folder.name}.{form}").text
            assert_plain(text, whole=form == "html")  # it holds D3 as one line
            if form == "html":
                assert text.count("<script") == text.count("</script>") <= 6
                shown = html.unescape(re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S))
                assert one_line(label, 500)[:100] in shown, label


@pytest.mark.slow
def test_csv_of_a_stranger_has_no_formulas(foreign: Foreign, tmp_path: Path, monkeypatch: Any) -> None:
    from edgepress.toolkit.measurement.benchmarking.benchmark import write_benchmark
    from edgepress.toolkit.results.file import load_benchmark

    monkeypatch.setattr(
        "edgepress.toolkit.measurement.benchmarking.plots.plot_benchmark", lambda *_: None
    )  # it takes seconds
    for folder in foreign.results[: len(LABELS)]:
        result = load_benchmark(folder)
        paths = write_benchmark(result, tmp_path / folder.name)
        text = paths[1].read_text()
        assert_plain(text)
        for row in csv.reader(io.StringIO(text)):
            assert not [cell for cell in row if cell[:1] in "=+-@" and not re.fullmatch(r"-?[\d.]+(e-?\d+)?|", cell)], (
                row
            )
        assert json.loads(paths[0].read_text()) == json.loads(json.dumps(result.to_dict()))


def test_views_of_a_notebook_are_text(foreign: Foreign) -> None:
    from edgepress.toolkit.results.file import load_benchmark

    for number, folder in enumerate(foreign.results[: len(LABELS) + 1]):
        made = load_benchmark(folder)._repr_html_()
        assert_plain(made, whole=True)  # it is written as one line
        assert "<script" not in made
        assert html.escape(one_line((*LABELS, LONG[:1500])[number], 80)[:15], quote=False) in made


def test_a_class_that_is_no_text_is_refused(tmp_path: Path, foreign: Foreign) -> None:
    shutil.copytree(foreign.classes, tmp_path / "data")
    shutil.copytree(tmp_path / "data" / NAMES[0], tmp_path / "data" / BYTES_NAME)
    with pytest.raises(DataError, match=r"not text in UTF-8") as caught:
        open_data(tmp_path / "data")
    one_line(caught.value.message).encode()
    contract = read_contract(foreign.model)
    assert contract is not None
    with pytest.raises(ModelFileError, match="surrogates"):
        Contract.from_json(contract.to_json().replace("[dog]", "\\ud800"))


def test_names_that_are_no_text_are_in_documents(foreign: Foreign, screens: Any, tmp_path: Path) -> None:
    """A picture of such a name is classified, and its name is the same in JSON; a model of such a name is no bug."""
    code, out, _ = screens("predict", foreign.model, foreign.pictures[0], "--json")
    assert code == 0
    assert json.dumps(str(foreign.pictures[0])) in json.dumps(json.loads(out))
    shutil.copyfile(foreign.model, file := tmp_path / f"{BYTES_NAME}.tflite")
    for words in (["inspect", file], ["predict", file, foreign.pictures[0]]):
        code, out, err = screens(*words)
        assert r"\udcff\udcfe" in unfolded(out + err)
    assert "enginesneednamesinUTF-8.Renameit" in unfolded(err)
