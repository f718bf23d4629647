"""Text of others on its way to screens: one line, JSON, Markdown, annotations, CSV, shells, Rich, plots."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_text import BYTES_NAME, LABELS, LONG, assert_plain, unfolded
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edgepress.converters.contract.metadata import parse_labels, read_labels
from edgepress.converters.files import write_csv, write_json
from edgepress.runtime.errors import InputError
from edgepress.runtime.text import MOST, json_text, one_line, traceback_of
from edgepress.toolkit.cli import screen
from edgepress.toolkit.escaping import annotation, markdown, shell_line
from edgepress.toolkit.terminal import Text

ROOT = Path(__file__).parents[2]
ANY = st.text(st.characters(codec=None), max_size=40) | st.text(st.sampled_from("\x1b[]:#=\n\u202e\u200d\udcffa "))
"""Texts of any code points, halves of surrogate pairs among them."""


@given(ANY)
def test_one_line_is_one_line_that_nothing_interprets(text: str) -> None:
    line = one_line(text)
    joiners = str.maketrans("", "", "\u200c\u200d")
    assert_plain(line.translate(joiners))
    line.encode()
    assert "\n" not in line
    assert one_line(line) == line
    assert len(line) <= MOST


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cat", "cat"),
        ("Größe 5 µm – 犬　猫", "Größe 5 µm – 犬　猫"),
        ("a\\b", "a\\b"),
        ("\x1b[31m\r\n\t\x00\x7f\x85\x9b", r"\x1b[31m\r\n\t\x00\x7f\x85\x9b"),
        ("\u202e\u2066\u200e\u061c\ufeff\u2028", r"\u202e\u2066\u200e\u061c\ufeff\u2028"),
        (BYTES_NAME, r"\udcff\udcfe\x1b[2Jname"),
        ("\U000e0041\U000e0100\u3164", r"\U000e0041\U000e0100\u3164"),
        ("  ::error::x", r"  \x3a:error::x"),
        ("zip::folder", "zip::folder"),
        ("x ##[error]y ##vso[a]", r"x \x23#[error]y \x23#vso[a]"),
        ("می\u200cخواهم 👩\u200d🔬", "می\u200cخواهم 👩\u200d🔬"),
        ("ca\u200dt", r"ca\u200dt"),
    ],
)
def test_what_one_line_keeps_and_escapes(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_long_text_is_cut_in_its_middle() -> None:
    assert len(one_line(LONG)) == MOST
    assert one_line("begin " + LONG + " end").startswith("begin long")
    assert one_line("begin " + LONG + " end").endswith("long end")
    assert one_line("\x00" * MOST) == one_line(one_line("\x00" * MOST)), "escapes make it longer"


@settings(max_examples=15)
@given(st.recursive(ANY | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=4))
def test_json_says_the_same_and_is_safe_to_print(value: Any) -> None:
    text = json_text(value, indent=2)
    assert json.loads(text) == value
    assert_plain(text.replace("\u200c", "").replace("\u200d", ""))
    text.encode()


def test_json_files_hold_names_that_are_no_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"file": BYTES_NAME})
    assert json.loads((tmp_path / "a.json").read_text()) == {"file": BYTES_NAME}


def test_a_traceback_holds_no_control_characters() -> None:
    try:
        raise ValueError("\x1b[2J\n::error::x")
    except ValueError as e:
        text = traceback_of(e)
    assert text.splitlines()[0] == "Traceback (most recent call last):"
    assert_plain(text.replace("Traceback", ""))
    assert text.endswith("\\x3a:error::x\n")


@pytest.mark.parametrize(
    "text",
    [
        *("a|b", "`code`", "*b* _i_ ~~s~~", "[x](y)", "![x](y)", "<b>", "&lt;", "@everyone", "#12", "$x^2$"),
        *("https://evil.test", "www.evil.test", ":rocket:", "- item", "1. item", "+ item", "=====", "> quote"),
        *("\n# title", "|---|", "    code", "a\\", *LABELS),
    ],
)
def test_markdown_makes_nothing_of_a_text(text: str) -> None:
    """As a paragraph and in a cell of a table, by the parser of Markdown that Rich needs."""
    made = markdown(text)
    assert_plain(made)
    assert not re.search(r"https?:/|www\.\w|:\w+:|@\w|(?<!\\)\$", made), "GitHub's links, emoji, mentions and formulas"
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for source in (made, f"| head |\n|---|\n| {made} |"):
        tags = {token.tag for block in parser.parse(source) for token in [block, *(block.children or ())]}
        assert tags <= {"", "p", "table", "thead", "tbody", "tr", "th", "td"}, (made, tags)
    shown = "".join(t.content for t in parser.parseInline(made)[0].children or ()).replace("\u200b", "")
    assert shown == " ".join(one_line(text).split()), "it is shown as it is"


def test_annotations_are_one_command_of_the_values_given() -> None:
    made = annotation("error", "gate, a:b\n::x", "50 %\n::error::y")
    assert made == "::error title=gate%2C a%3Ab\\n%3A%3Ax::50 %25\\n::error::y"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "＝", "－", "＋", "＠", "\n+"])
def test_no_cell_of_a_csv_is_a_formula(start: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["text", "number"], [{"text": f"{start}1+1", "number": -1.5}])
    (row,) = csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))
    normal = unicodedata.normalize("NFKC", row["text"]).strip()
    assert normal[0] in ("'", "\\"), row
    assert row["number"] == "-1.5", "figures stay figures"


@pytest.mark.parametrize("name", ["model.tflite", "a b", "$(id)", "`id`", "a'b", "--trust", "a\nb", BYTES_NAME, "é\\"])
def test_commands_to_copy_name_the_file(name: str, tmp_path: Path) -> None:
    line = shell_line("printf", "%s", Path(name))
    assert_plain(line)
    shown = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert Path(shown.decode("utf-8", "surrogateescape")) == Path(name)
    assert shlex.split(line)[0] == "printf"


@pytest.mark.parametrize("name", [*LABELS, '"\n[train]\nteacher = "x"', "\x7f\x85\u2028\U000e0041"])
def test_names_are_values_and_comments_of_a_toml_file(name: str) -> None:
    import tomllib

    import typer

    from edgepress.toolkit.cli.app import app
    from edgepress.toolkit.cli.template import template

    commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = template(commands, {("", "data"): name}, {"data": name})
    assert_plain(text.replace("##[", "["))  # a file for edgepress, which nothing prints
    plain = tomllib.loads(template(commands, {("", "data"): "x"}, {}))
    assert tomllib.loads(text) == plain | {"data": name}, "nothing else is set"


def test_only_one_module_imports_rich() -> None:
    """So that no text is printed past `Text`, which is one line and no markup."""
    found = []
    for path in (p for package in ("runtime", "converters", "toolkit") for p in (ROOT / package).rglob("*.py")):
        if re.search(r"^\s*(?:from|import)\s+rich\b|\bimport_module\(.rich", path.read_text(), re.MULTILINE):
            found.append(path.relative_to(ROOT).as_posix())
    assert {*found} == {"toolkit/terminal.py"}


class Terminal(io.StringIO):
    """A terminal that shows colors."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [Terminal, io.StringIO])
@pytest.mark.parametrize("width", ["20", "60", "200"])
def test_whatever_is_printed_is_plain(width: str, terminal: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, styled texts, headings and cells, also where lines are wrapped before "::"."""
    out = terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm-256color")
    for label in LABELS:
        screen.say(label, style="bold")
        screen.say(f"{'x' * (int(width) - 1)} {label}")
        screen.note(label)
        screen.step(label)
        screen.remarks([{"text": label, "command": label}])
        screen.error(InputError(label, label), as_json=False)
        screen.document({label: label})
        screen.show(screen.table([(label, "left")], [[label], [Text("Status: ", style="red").append(label)]]))
        screen.show(screen.table([("", "left")], [["y " * 9 + label]]))
    assert_plain(out.getvalue(), styled=terminal is Terminal)
    for label in LABELS:
        assert unfolded(out.getvalue()).count(unfolded(one_line(label)).lstrip("\\x3a:")) >= 8, label


def test_bars_of_progress_read_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.cli.graph_run import training_bar
    from edgepress.toolkit.terminal import console, status

    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    with screen.progress({"a": LABELS[0], "b": LABELS[1]}) as update:
        update("a", 0.5)
        update("b", 0.5)
        update(LABELS[3], 0.5)
    with training_bar() as shown:
        shown(0.5, LABELS[1])
    with status(console(stderr=True), LABELS[1]) as change:
        change(LABELS[3])
        screen.step(f"{'x ' * 40} {LABELS[5]}")
    assert_plain(out.getvalue(), styled=True)
    assert "[bold]x" in unfolded(out.getvalue())


def test_plots_take_labels_for_no_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.training import plots

    figures = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))
    labels = [*LABELS, "$\\frac{", "$a$ $b$", "_^{}", LONG]
    plots.plot_confusion_matrix(np.eye(len(labels), dtype=int).tolist(), labels, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size
    shown = [tick.get_text() for tick in figures[0].axes[0].get_yticklabels()]
    assert shown[len(LABELS) : len(LABELS) + 3] == labels[len(LABELS) : -1], "as they are"
    assert max(map(len, shown)) <= 18
    assert_plain("\n".join(shown))


@pytest.mark.parametrize(
    "first", ["[unknown]", "[UNK]", "[", "{x}", "[1]", "{", "[/x]", "[PAD], x", "[]", "{}", "[[a]]", "[1, 2]", '["']
)
def test_a_label_file_may_begin_with_a_bracket(first: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(f"{first}\ncat\ndog\n")
    assert read_labels(tmp_path / "labels.txt") == (first, "cat", "dog")
    assert parse_labels(f"{first}\ncat\ndog\n") == (first, "cat", "dog"), "of metadata"


def test_a_label_file_of_one_label_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("[unknown]\n")
    assert read_labels(tmp_path / "labels.txt") == ("[unknown]",)
    assert parse_labels("[unknown], cat") == ("[unknown]", "cat")
    assert parse_labels("[cat, dog]") == (), "a list in a writing that is not known"


WHOLE = ['["cat", "dog"]', '{"0": "cat", "1": "dog"}', '{"cat": 0, "dog": 1}', "['cat', 'dog']", "{0: 'cat', 1: 'dog'}"]
WHOLE += ['[\n  "cat",\n  "dog"\n]', '{\n  "0": "cat",\n  "1": "dog"\n}', '["[cat]", "do\\"g"]']


@pytest.mark.parametrize("text", WHOLE)
def test_json_that_is_cut_off_is_no_text_of_labels(text: str, tmp_path: Path) -> None:
    """At each place behind the first string, in which it might be a label such as '["' yet."""
    path = tmp_path / "labels.json"
    path.write_text(text)
    assert len(read_labels(path)) == 2
    quote = '"' if '"' in text else "'"
    for end in range(text.index(quote) + 1, len(text)):
        path.write_text(text[:end])
        with pytest.raises(InputError, match="cut off"):
            read_labels(path)


@pytest.mark.parametrize("text", ["[1, 2]", "[]", "{}", '{"a": ["b"]}', '[["a"], ["b"]]', '{"0": "a", "2": "b"}'])
def test_json_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(InputError, match="holds no labels"):
        read_labels(tmp_path / "labels.json")


def test_labels_are_text(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat", "\\ud800"]')
    with pytest.raises(InputError, match="JSON"):
        read_labels(tmp_path / "labels.json")
    assert parse_labels('["cat", "\\ud800"]') == ()
