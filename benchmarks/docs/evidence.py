"""Measure what the README and the guides claim, part by part, and write docs/evidence.md from what was measured.

    python benchmarks/docs/evidence.py --list                        the parts, and how long each takes
    python benchmarks/docs/evidence.py --only serve,bundles          measure these parts, write the page
    python benchmarks/docs/evidence.py                               write the page from what is there
    python benchmarks/docs/evidence.py --only all --cache CACHE      everything: hours

Each part runs one script of `benchmarks/` and keeps what it printed in `benchmarks/docs/evidence/NAME.json`, with the
date, the commit, the machine and its load. A claim without such a file stands on the page as "not measured". Parts
that time want an idle machine: the page says how busy it was. Exits with 1 if a part that was run did not keep its
limits.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evidence_parts import CACHE, CLAIMS, ELSEWHERE, REAL, Claim

from edgepress.toolkit.machine.host import describe_host, host_title

BENCHMARKS = Path(__file__).resolve().parents[1]
MEASURED = Path(__file__).resolve().with_name("evidence")
PAGE = BENCHMARKS.parent / "docs" / "evidence.md"
LAST_LINES = 40
"""Lines of the output that are kept."""
BUSY = 0.5
"""Load of each core from which a part counts as run beside other work."""
HEAD = """\
# Evidence

What the README and the guides claim, how it was measured, and what came of it; at the end, where others are better.
`python benchmarks/docs/evidence.py` writes this page from `benchmarks/docs/evidence/`, and `--only NAME` measures a
part again. A figure holds for the machine, the commit and the options that stand beside it; options are often smaller
than the script's own, so that a part takes minutes.
"""


def main() -> None:
    """Run the parts asked for, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts, separated by commas, or all")
    parser.add_argument("--cache", type=Path, default=Path("evidence-cache"), help="folder of nets and files")
    parser.add_argument(
        "--real", type=Path, default=BENCHMARKS.parents[1] / "shared" / "real", help="folder of real models and data"
    )
    parser.add_argument("--list", action="store_true", help="only list the parts")
    args = parser.parse_args()
    if args.list:
        for claim in CLAIMS:
            print(f"{claim.name:18} {claim.minutes:4} min  {claim.claim}")
        return
    by_name = {claim.name: claim for claim in CLAIMS}
    names = list(by_name) if args.only == "all" else [name for name in args.only.split(",") if name]
    if unknown := sorted(set(names) - set(by_name)):
        parser.error(f"no parts: {', '.join(unknown)}; parts: {', '.join(by_name)}")
    broken = []
    for name in names:
        found = measure(by_name[name], {CACHE: args.cache, REAL: args.real})
        broken += [name] if found["exit_code"] else []
        PAGE.write_text(page())
    PAGE.write_text(page())
    if broken:
        sys.exit(f"not kept: {', '.join(broken)}")


def without_folders(text: str, folders: Mapping[str, Path]) -> str:
    """A text in which what stands for a folder replaces its path, which is only this machine's."""
    for name, folder in folders.items():
        text = text.replace(str(folder.resolve()), name)
    return text


def measure(claim: Claim, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Run a part, with folders instead of what stands for them, and keep what it printed, which is shown, too."""
    command = [*claim.command]
    for name, folder in folders.items():
        command = [word.replace(name, str(folder.resolve())) for word in command]
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    began, version = time.monotonic(), commit(command[0])
    print(f"{claim.name}: {' '.join(claim.command)}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, *command], cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stdout)
    host = describe_host()
    document, lines = parsed(without_folders(done.stdout, folders))
    found = {
        "name": claim.name,
        "command": " ".join(claim.command),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": version,
        "host": {key: host[key] for key in ("cpu", "machine", "cores", "os") if key in host},
        "load_per_core": round(load, 2),
        "seconds": round(time.monotonic() - began, 1),
        "exit_code": done.returncode,
        "document": document,
        "lines": lines[-LAST_LINES:],
    }
    MEASURED.mkdir(exist_ok=True)
    (MEASURED / f"{claim.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def parsed(text: str) -> tuple[dict[str, Any], list[str]]:
    """The JSON document at the end of an output, without the host, and the lines before it."""
    lines = text.splitlines()
    for start in (n for n, line in enumerate(lines) if line.startswith("{")):
        try:
            document = json.loads("\n".join(lines[start:]))
        except json.JSONDecodeError:
            continue
        document.pop("host", None)
        return document, lines[:start]
    return {}, lines


def commit(script: str) -> str:
    """The commit that is measured, with a "+" if the packages or the script differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../converters", "../runtime", "../toolkit", script)
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def page() -> str:
    """The page, from the files of `MEASURED`."""
    parts = [HEAD, "| claim | measured |\n|---|---|"]
    sections = []
    for claim in CLAIMS:
        path = MEASURED / f"{claim.name}.json"
        found = json.loads(path.read_text()) if path.exists() else None
        parts[-1] += f"\n| [{claim.claim}](#{claim.name}) | {_verdict(found)} |"
        sections.append(section(claim, found))
    others = "\n".join(f"- **{what}.** {text}" for what, text in ELSEWHERE)
    return "\n".join([*parts, "", *sections, f"## Where others are better\n\nBy what they publish:\n\n{others}\n"])


def section(claim: Claim, found: dict[str, Any] | None) -> str:
    """What the page says of a claim."""
    lines = [f"## {claim.name}\n", f"{claim.claim}\n", f"- Protocol: {claim.protocol}"]
    if found is None:
        lines.append(f"- Not measured. About {claim.minutes} minutes.")
    else:
        lines.append(f"- Figure: {claim.figure(found['document'], found['lines'])}.")
        if found["exit_code"]:
            lines.append("- **The script's limits were not kept.**")
        if claim.rivals is not None:
            better = claim.rivals(found["document"], found["lines"])
            lines.append(f"- Where a rival is better: {better or 'nowhere in this measurement'}.")
        busy = found["load_per_core"] > BUSY
        beside = f"beside other work (load {found['load_per_core']:g} a core)" if busy else "on an idle machine"
        lines.append(
            f"- Measured on {found['date']}, {host_title(found['host'])}, commit {found['commit']}, {beside}, "
            f"in {found['seconds']:.0f} s"
            + ("; it times, so measure it again on an idle machine." if busy and claim.timed else ".")
        )
    command = found["command"] if found else " ".join(claim.command)
    lines.append(f"- Script: `benchmarks/{command.replace(CACHE, 'CACHE').replace(REAL, 'REAL')}`")
    return "\n".join(lines) + "\n"


def _verdict(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    return f"{'LIMITS NOT KEPT' if found['exit_code'] else 'measured'}, {found['date']}"


if __name__ == "__main__":
    main()
