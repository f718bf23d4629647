"""A walk over all commands with labels, class names, names of files and results that a screen would interpret.

`WALK` has a row for each command: a new one fails `test_every_command_is_walked` until it has one.
"""

from __future__ import annotations

import csv
import dataclasses
import html
import importlib
import io
import itertools
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_text import BYTES_NAME, LABELS, LONG, MARKS, NAMES, assert_plain, unfolded
from PIL import Image

from edgepress.runtime.__main__ import main as runtime_main
from edgepress.runtime.contract import Contract, read_contract
from edgepress.runtime.text import one_line
from edgepress.toolkit.annotation import write_annotated
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.cli.reference import every_command
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError, ModelFileError
from edgepress.toolkit.reports.report import report

ROOT = Path(__file__).parents[2]
HELD = {"png", "sha256", "correct", "parent_sha256", "kind", "key", "train", "created", "to", "status"}
"""Keys of results whose values are no text of a person, or decide what is shown."""


@dataclasses.dataclass(frozen=True)
class Foreign:
    """What a stranger gave.

    Attributes:
        folder: A folder to write to.
        model: A `.tflite` file with hostile labels and a hostile name.
        long: The same with a label of 1 MB.
        data: Test items of the same labels, an `.npz`.
        classes: Class folders and pictures with hostile names.
        pictures: Some of the pictures.
        results: Folders of `benchmark.json`, and of `sweep.json`.
        keras: A Keras model with hostile labels.
    """

    folder: Path
    model: Path
    long: Path
    data: Path
    classes: Path
    pictures: list[Path]
    results: list[Path]
    keras: Path


@pytest.fixture(scope="session")
def foreign(run: Any, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    from edgepress.converters.contract.write import write_keras_contract

    folder = tmp_path_factory.mktemp("foreign")
    source = run.variants["tflite-int8"]
    contract = read_contract(source)
    assert contract is not None
    data = dataclasses.replace(contract.data, source=LABELS[3]) if contract.data else None
    models = []
    for name, labels in ((f"{NAMES[0]}{NAMES[4]}.tflite", LABELS), ("long.tflite", (*LABELS[:9], LONG))):
        write_annotated(source, contract.replace(labels=labels, data=data), folder / name)
        models.append(folder / name)
    keras = folder / f"{NAMES[1]}.keras"
    shutil.copyfile(run.model, keras)
    write_keras_contract(keras, read_contract(run.model).replace(labels=LABELS, data=data))  # type: ignore[union-attr]
    items = digits.test.read(slice(0, 300))
    np.savez(folder / "data.npz", x=items, y=digits.test.y[:300], labels=np.array(LABELS))
    pictures = []
    for number, label in enumerate(NAMES):
        (folder / "classes" / label).mkdir(parents=True)
        for row in np.flatnonzero(digits.test.y == number)[:12].tolist():
            pictures.append(folder / "classes" / label / f"{row}{NAMES[row % 10]}.png")
            Image.fromarray(digits.test.read([row])[0, ..., 0]).save(pictures[-1])
    shutil.copyfile(pictures[0], bytes_name := pictures[0].with_name(f"{BYTES_NAME}.png"))
    results = _results(folder)
    return Foreign(
        folder, *models, folder / "data.npz", folder / "classes", [bytes_name, *pictures[::20]], results, keras
    )


def _results(folder: Path) -> list[Path]:
    """Folders of results each of whose texts is hostile."""
    from sweeping import made_up_sweep

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "pages"))
        made = importlib.import_module("report_document").made_up_benchmark(boards=True)
    found = []
    for number, label in enumerate((*LABELS, LONG[:1500])):
        found.append(folder / f"results-{number}")
        found[-1].mkdir()
        (found[-1] / "benchmark.json").write_text(json.dumps(_poisoned(made.to_dict(), label)))
    for number, label in enumerate((*LABELS, LONG[:1500])):
        found.append(folder / f"sweep-{number}")
        found[-1].mkdir()
        (found[-1] / "sweep.json").write_text(json.dumps(_poisoned(made_up_sweep().to_dict(), label)))
    return found


def _poisoned(value: Any, label: str) -> Any:
    """A document with a label behind each text, and in front of those that nothing else refers to."""
    if isinstance(value, Mapping):
        return {key: each if key in HELD else _poisoned(each, label) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_poisoned(each, label) for each in value]
    return f"{label}{value}" if isinstance(value, str) and value else value


class Terminal(io.StringIO):
    """A terminal that shows colors."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screens(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, on a terminal or without one; its exit code and what it printed."""
    screen = getattr(request, "param", Terminal)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr("sys.stdin", None)

    def edgepress(*words: object, start: Callable[..., Any] = main) -> tuple[int, str, str]:
        out, err = screen(), screen()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            with pytest.raises(SystemExit) as caught:
                sys.exit(start([str(word) for word in words]))
        styled = screen is Terminal or caught.value.code == 2  # Typer styles its errors in CI, too
        assert_plain(out.getvalue(), styled=styled, whole="--json" in words)
        assert_plain(err.getvalue(), styled=styled, annotated=os.environ.get("GITHUB_ACTIONS") == "true")
        return int(caught.value.code or 0), out.getvalue(), err.getvalue()

    return edgepress


def in_turn(*names: str, slow: Container[str] = ()) -> pytest.MarkDecorator:
    """Each name on one of the two screens, in turn: what differs between them does not depend on the command."""
    kinds = itertools.cycle((io.StringIO, Terminal))
    cases = [pytest.param(n, next(kinds), marks=[pytest.mark.slow] * (n in slow), id=n or "none") for n in names]
    return pytest.mark.parametrize(("name", "screens"), cases, indirect=["screens"])


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
    "publish check": lambda f: [["--to", f.folder / NAMES[1]], ["--to", f.folder / NAMES[3], "--json"]],
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


POISON = """
import json, os, subprocess, sys

done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE)
text = done.stdout.decode()
if sys.argv[1:2] == ["-"]:  # the probe, which says what the board is
    told = json.loads(text)
    for part in (told, told.get("state", {})):
        for name in ("node", "model", "cpu", "os", "kernel", "governor"):
            if name in part:
                part[name] = os.environ["LABEL"] + str(part[name])
        if "cooling" in part:
            part["cooling"] = [os.environ["LABEL"]]
    text = json.dumps(told)
sys.stdout.write(text)
sys.exit(done.returncode)
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[object]]]:
    """Options of a board whose description holds a label; it is the user's own, but others may have set it up."""
    import sshd

    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    with sshd.serve(tmp_path / "board") as server:

        def options(label: str) -> list[object]:
            python = server.folder / "bin" / "poisoned-python"
            python.with_name("poison.py").write_text(f"import os\nos.environ['LABEL'] = {label!r}\n{POISON}")
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{python.with_name("poison.py")}" "$@"\n')
            python.chmod(0o755)
            return ["board", "--python", python.name, "--ssh-config", server.config]

        yield options


@pytest.mark.slow
def test_what_a_board_says_is_text(board: Any, screens: Any) -> None:
    for number, label in enumerate(LABELS):
        for form in ([], ["--json"]):
            code, out, err = screens("board", "info", *board(label), *form)
            assert code in (0, 1), err
            if form:
                assert label in json.loads(out)["os"]
            elif number == 2:
                assert "[dog]" in unfolded(out)


@pytest.mark.slow
def test_a_hostile_model_on_a_hostile_board_is_text(foreign: Foreign, board: Any, screens: Any, tmp_path: Path) -> None:
    from edgepress.toolkit.bundles.build import bundle

    made = bundle(foreign.model, tmp_path / f"{NAMES[1]}.zip", name="app", samples=1, data=str(foreign.data))
    quick = ["--items", 20, "--rounds", 1, "--seconds", 0.1, "--threads", 1, "--out", tmp_path / NAMES[2]]
    code, out, err = screens("board", "bench", *board(LABELS[3] + LABELS[8]), made.path, "--data", foreign.data, *quick)
    assert code in (0, 1), err
    assert "litert" in out, out + err
    assert MARKS[2] in unfolded(out + err).replace("\\\\", "\\"), out


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


def test_csv_of_a_stranger_has_no_formulas(foreign: Foreign, tmp_path: Path, monkeypatch: Any) -> None:
    from edgepress.toolkit.benchmarking.benchmark import write_benchmark
    from edgepress.toolkit.results.file import load_benchmark

    monkeypatch.setattr("edgepress.toolkit.benchmarking.plots.plot_benchmark", lambda *_: None)  # it takes seconds
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
    with pytest.raises(DataError, match=r"no text in UTF-8") as caught:
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


def _on_pty(*words: object, **variables: str) -> tuple[int, str]:
    """Run a command on a real terminal; its exit code and all that the terminal got."""
    main_end, child_end = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | variables
    environment.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
    command = [sys.executable, "-m", *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=child_end, stderr=child_end, env=environment)
    os.close(child_end)
    got = b""
    while True:
        try:
            part = os.read(main_end, 1 << 16)
        except OSError:  # the other end is closed
            break
        got += part
    os.close(main_end)
    return process.wait(timeout=120), got.decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "CI": "true"}])
def test_a_real_terminal_gets_no_codes_but_of_styles(foreign: Foreign, variables: dict[str, str]) -> None:
    for words in (("predict", foreign.model, foreign.classes), ("inspect", foreign.model), ("inspect", NAMES[3])):
        code, got = _on_pty("edgepress.toolkit.cli.main", *words, **variables)
        assert code in (0, 1)
        assert_plain(got, styled=True)
        if "NO_COLOR" in variables:
            assert not re.search(r"\x1b\[[\d;]*3[0-7][;m]", got), "no color"
    code, got = _on_pty("edgepress.runtime", "classify", foreign.model, *foreign.pictures, **variables)
    assert code == 0
    assert_plain(got)


CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["edgepress.toolkit.cli.main play --no-open", "edgepress.runtime serve --port 0"])
def test_servers_and_their_pages_show_strangers_texts_as_texts(words: str, foreign: Foreign) -> None:
    data = ["--data", str(foreign.data)] if "play" in words else []
    command = [sys.executable, "-m", *words.split(), str(foreign.model), *data]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if url := re.search(r"(?:page |^)(http://[\d.:]+/)", line):
                _look_at(url[1], foreign)
                break
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert any("http://" in line for line in lines), lines
    assert_plain("".join(lines) + rest)


def _look_at(url: str, foreign: Foreign) -> None:
    """Give a server's page a picture and read what it shows."""
    playwright = pytest.importorskip("playwright.sync_api")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        tab = browser.new_page()
        tab.goto(url)
        tab.wait_for_selector("html[data-ready=yes], #choose:visible")
        tab.set_input_files("#pick, #file", foreign.pictures[1])
        tab.wait_for_selector("html[data-answers], #answer:visible")
        shown = tab.evaluate("document.body.textContent") + tab.title()
        assert_plain(tab.evaluate("document.body.innerText").replace("\t", " "))
        assert tab.evaluate("window.hacked") is None
        assert sum(mark.replace("\\x1b", "\\u{1b}") in shown for mark in MARKS) >= 1, shown
        browser.close()
