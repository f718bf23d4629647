"""The words of docs/glossary.md: a word that its table rejects appears in no identifier, text or page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "glossary.md"
HISTORY = ("decisions.md", "glossary.md")
"""Pages that may name former words."""
CODE = ("toolkit", "converters", "runtime", "benchmarks")
SUFFIXES = (".py", ".html", ".js", ".css", ".toml", ".sh")


def terms() -> list[tuple[str, str, tuple[str, ...]]]:
    """Each term, its meaning and the words that are not used for it."""
    table = PAGE.read_text().split("<!-- terms -->")[1]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| ?(.*?) ?\|$", table, flags=re.MULTILINE)
    return [(term, meaning, tuple(re.findall(r"\w+", rejected))) for term, meaning, rejected in rows[1:]]


REJECTED = {word: term for term, _, words in terms() for word in words}


def words_of(text: str) -> set[str]:
    """Words of a text in lower case: whole identifiers, and their parts between underscores and capitals."""
    identifiers = set(re.findall(r"\w+", text))
    parts = {part for name in identifiers for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    return {word.lower() for word in identifiers | parts}


def rejected_in(text: str) -> set[str]:
    """The rejected words of a text."""
    return words_of(text) & REJECTED.keys()


def files() -> list[Path]:
    """Code of the program and of its benchmarks, and the pages that users read."""
    code = [path for name in CODE for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES]
    return [*code, *(p for p in (ROOT / "docs").glob("*.md") if p.name not in HISTORY), ROOT / "README.md"]


def test_the_table_is_read() -> None:
    table = terms()
    assert len(table) > 60
    assert all(term and meaning for term, meaning, _ in table)
    names = [term for term, _, _ in table]
    assert names == sorted(names, key=str.lower)
    assert len(names) == len(set(names))
    assert {"waist", "noise_db", "ladder"} <= REJECTED.keys()


def test_no_rejected_word_is_used() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {word!r}; docs/glossary.md says {REJECTED[word]!r}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for word in sorted(rejected_in(line))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "class WaistJob:",
        "found.noise_db = 3",
        '"""A ladder of ways."""',
        "_sketched_net",
        "What mends it",
        "def climb():",
    ],
)
def test_a_planted_word_is_found(text: str) -> None:
    assert rejected_in(text)


@pytest.mark.parametrize("text", ["recommended", "snr_db", "climate", "noise", "float_graph", "arranging"])
def test_other_words_are_not_rejected(text: str) -> None:
    assert not rejected_in(text)


def test_no_page_holds_marks_of_an_unfinished_merge() -> None:
    pages = [*files(), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*.toml")]
    pages += [*(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.yml"), ROOT / ".ci" / "run", ROOT / "check"]
    marked = [path for path in pages if re.search(r"^(<<<<<<<|>>>>>>>)( |$)", path.read_text(), flags=re.MULTILINE)]
    assert marked == []
