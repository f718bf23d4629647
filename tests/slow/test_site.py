"""The site builds without a warning, holds every page, and asks no other host for anything."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts import script
from shared_folders import once_per_run

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"index", "contributing", "changelog", "security"}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    return once_per_run(tmp_path_factory, "site", script(".ci/site.py").build)


def listed(node: Any) -> Iterator[str]:
    """The pages of a navigation."""
    for item in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        yield from listed(item) if isinstance(item, (list, dict)) else (item,)


def test_every_page_is_in_the_navigation_once_and_in_the_site(site: Path) -> None:
    pages = sorted({*(p.stem for p in ROOT.glob("docs/*.md")), *ELSEWHERE})
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(Path(page).stem for page in listed(nav)) == pages
    assert {p.stem for p in site.glob("*.html")} - {"404"} == set(pages)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:link|script|img|iframe|source)\b[^>]*?\b(?:href|src)=[\"']?([^\"'\s>]+)", text)
        assert [target for target in loaded if re.match(r"(https?:)?//", target)] == [], page.name
        assert 'class="mermaid"' not in text, "a browser would fetch Mermaid from elsewhere"
    styles = "".join(p.read_text(encoding="utf-8") for p in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?https?:[^)]*\)|@import", styles) == []


def test_the_python_page_has_every_public_name_and_its_example_as_code(site: Path) -> None:
    import edgepress.runtime
    import edgepress.toolkit

    text = (site / "python.html").read_text(encoding="utf-8")
    names = set(re.findall(r'id="edgepress\.(?:toolkit|runtime)\.(\w+)"', text))
    assert names == {*edgepress.toolkit.__all__, *edgepress.runtime.__all__}
    assert "&gt;&gt;&gt; from" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)


def test_diagrams_are_drawn(site: Path) -> None:
    text = (site / "architecture.html").read_text(encoding="utf-8")
    assert text.count('<div class="diagram"><svg') == (ROOT / "docs" / "architecture.md").read_text().count(
        "```mermaid"
    )


def test_broken_links_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = script(".ci/site.py")

    def stage(folder: Path, right: Any = module.stage) -> None:
        right(folder)
        with (folder / "docs" / "ci.md").open("a", encoding="utf-8") as page:
            page.write("\n[a](gone.md) [b](index.md#gone) [c][gone.name]\n")

    monkeypatch.setattr(module, "stage", stage)
    with pytest.raises(subprocess.CalledProcessError):
        module.build(tmp_path / "site")
    assert "3 issues found" in "".join(capfd.readouterr())
    assert not (tmp_path / "site").exists()
