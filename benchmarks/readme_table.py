"""Write the README's table and picture from a run of the demo.

    python benchmarks/readme_table.py

Replaces what stands between the two `<!-- demo -->` marks in README.md, and docs/demo.png.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from edgepress.toolkit.demonstration import demo
from edgepress.toolkit.host.describe import host_title
from edgepress.toolkit.results.records import Benchmark

ROOT = Path(__file__).parent.parent
MARK = "<!-- demo -->"


def main() -> None:
    """Run the demo and write its figures where they are shown."""
    with tempfile.TemporaryDirectory() as folder:
        result = demo(Path(folder) / "demo")
        shutil.copyfile(Path(folder) / "demo" / "accuracy_size_latency.png", ROOT / "docs" / "demo.png")
    readme = ROOT / "README.md"
    before, _, after = readme.read_text().split(MARK)
    readme.write_text(f"{before}{MARK}\n{table(result.benchmark, result.seconds)}\n{MARK}{after}")


def table(result: Benchmark, seconds: float) -> str:
    """The benchmark as a Markdown table, with what it was measured on and which file to ship."""
    lines = [
        "| file | engine | size | accuracy | drop, at most | p50 | speed-up |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for r in result.results:
        lines.append(
            f"| `{r.scheme}` | {r.engine} | {r.size_bytes / 1000:.0f} kB | {r.accuracy:.2%} | {r.drop_high_pp:.2f} pp "
            f"| {r.p50_us:.0f} us | {r.speedup:.2f} |"
        )
    ship = next(r.scheme for r in result.results if r.file == result.advice.ship)
    lines += [
        "",
        f"{result.data['count']} test images, 1 thread, {host_title(dict(result.host))}; "
        f"the demo took {seconds:.0f} s. "
        f"It recommends `{ship}`, the smallest file whose accuracy drop is proven to be under "
        f"{result.max_drop_pp:g} pp. (Table and picture: `benchmarks/readme_table.py`.)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
