"""Build the documentation's site: `python .ci/site.py FOLDER`. No network is used, and a warning is an error.

Pages come from docs/. README.md, CONTRIBUTING.md, CHANGELOG.md and SECURITY.md lie where a code host looks for them and
become pages, too. The site does not know where its code is hosted: of a link to a file of the code, the text remains.
Diagrams become SVG here, because a browser would fetch Mermaid from elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Files of the clone, and the pages that they become."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)|!\[([^\]]*)\]\((\S+)\)")
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def build(out: Path) -> None:
    """Build the site.

    Args:
        out: Folder of the site; what it holds is replaced.

    Raises:
        subprocess.CalledProcessError: The builder warned or failed; it has said why on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", "mkdocs.yml"]
        subprocess.run(command, cwd=folder, check=True)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(Path(folder) / "site", out)


def stage(folder: Path) -> None:
    """Write what the builder reads: its settings, the pages, and a link under which it finds `edgepress`."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("schema"))
    for name, page in ELSEWHERE.items():
        shutil.copy(ROOT / name, folder / "docs" / page)
    for page in (folder / "docs").glob("*.md"):
        source = next(
            (ROOT / name for name, other in ELSEWHERE.items() if other == page.name), ROOT / "docs" / page.name
        )
        text = DIAGRAM.sub(lambda found: _drawn(found[1]), source.read_text(encoding="utf-8"))
        page.write_text(LINK.sub(lambda found, here=source.parent: _link(found, here), text), encoding="utf-8")
    for name in ("mkdocs.yml", ".ci/docstrings.py"):
        shutil.copy(ROOT / name, folder)
    (folder / ".types").symlink_to(ROOT / ".types")


def _link(found: re.Match[str], folder: Path) -> str:
    text, target, anchor, alternative, image = found.groups(default="")
    path = (folder / (target or image)).resolve()
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    if image:
        return f"![{alternative}]({name.removeprefix('docs/')})"
    if name in ELSEWHERE or (name.startswith("docs/") and path.suffix in (".md", ".ipynb")):
        return f"[{text}]({ELSEWHERE.get(name, name.removeprefix('docs/'))}{anchor})"
    return text if path.exists() else found[0]


def _drawn(diagram: str) -> str:
    import mmdr

    svg = mmdr.render(diagram).svg()
    return f'<div class="diagram">{" ".join(svg.split())}</div>'


if __name__ == "__main__":
    build(Path(sys.argv[1]))
