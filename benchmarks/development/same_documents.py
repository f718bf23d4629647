"""Whether two versions of edgepress print the same JSON documents and exit codes, for every command of the README.

    git worktree add ../before v0.1.0
    python benchmarks/development/same_documents.py --before ../before --after .

Each side is a clone that has the links of `.types/` (older clones make them by `./check --no-tests`), or a Python that
has edgepress installed. Both run the same commands in an empty folder, right and wrong usages, so that every exit code
is seen. Two documents are the same if they have the same keys and types everywhere, and equal values, except:

* figures that differ from run to run (`VARYING`): times, memory, load, dates, hashes of files;
* sentences for people (`PROSE`), which may be reworded: only their presence counts.

It takes some minutes, prints the differences, and ends with one JSON document. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

VARYING = re.compile(
    r".*(_ms|_us|_s|_mhz|_1min|_c|seconds|_share)|p\d+.*|latency.*|share|speedup.*|spread|slower|tracing_slowdown"
    r"|(memory|compressed|temporary|available|free)_bytes|sha256|parent_sha256|id|created|command|noisy|reasons|drift"
)
"""Keys whose values differ from run to run, or follow from such: only their types are compared."""
CALLS = ("count", "warmup", "rounds")
"""The same, in a row with latencies: how many calls were timed before the time was up."""
GATE = re.compile(r"latency|p\d\d|memory|compressed")
"""Gates and figures of `compare` that judge such values."""
PROSE = re.compile(r"why|note|message|hint|error|verdict|summary|text|how|fix|reason|memory_model|method")
"""Keys of sentences for people. How many notes there are depends on how quiet the machine is."""
SIZE = re.compile(r".*(_bytes|size_ratio)|old|new|estimate|low|high")
NEAR = 0.01
"""Share by which sizes may differ: a bundle holds our own source files, whose comments change."""

MAKE = """
demo --out demo
train --data digits --epochs 2 --out runs/a
train --data digits --epochs 2 --out runs/a --resume
train --data digits --epochs 2 --out runs/a
train --data nowhere --out runs/b
train --arch nonsense --out runs/b
train --freeze --out runs/b
train --epochs many
convert runs/a/model.keras --to tflite-float32,tflite-int8,onnx-int8
bundle demo/variants/model-int8.tflite --out app.zip
benchmark runs/a/variants --rounds 6 --profile
""".strip().splitlines()
USE = """
convert foreign.keras --to tflite-int8,onnx-int8 --data digits --labels labels.txt --input-range 0,255
convert foreign.keras --to tflite-dynamic --data digits --mean 0 --std 1 --task softmax --out mean
convert foreign.keras --to tflite-int8 --out without
convert demo/variants/model-int8.tflite --to tflite-int8 --out again
convert demo/variants/model-float32.onnx --to onnx-int8,tflite-int8 --data digits --out again
convert missing.keras
convert broken.tflite
convert runs/a/model.keras --to nonsense
convert runs/a/model.keras --to tflite-int8 --task nonsense
convert
benchmark runs/a/variants/model-int8.tflite --rounds 1 --no-limits --max-drop 0 --baseline model-int8.tflite --out x
benchmark runs/a/variants --engine nonsense
benchmark runs/a/variants --baseline nonsense
benchmark runs/a/variants broken.tflite --rounds 1 --no-limits --out x
benchmark nowhere
benchmark runs/a/variants --threads 0
benchmark runs/a/variants --rounds 0
evaluate runs/a/model.keras
evaluate demo/variants/model-int8.tflite
evaluate demo/variants/model-dynamic.onnx --engine onnxruntime --data digits
evaluate demo/variants/model-int8.tflite --engine onnxruntime
evaluate broken.tflite
evaluate demo/variants/model-int8.tflite --threads 0
predict demo/variants/model-int8.tflite demo/images
predict demo/variants/model-int8.onnx demo/images --top 1
predict demo/variants/model-int8.tflite demo/images missing.png labels.txt
predict missing.tflite demo/images
predict demo/variants/model-int8.tflite
inspect demo/variants/model-int8.tflite
inspect demo/variants/model-dynamic.onnx
inspect demo/model.keras
inspect broken.tflite
inspect missing.tflite
inspect
profile demo/variants/model-int8.tflite --runs 20
profile demo/variants/model-int8.onnx --runs 20
profile demo/model.keras
profile demo/variants/model-int8.tflite --engine nonsense
report demo
report runs/a/variants --format md --out report.md
report demo --format card --license apache-2.0 --out card.md
report nowhere
report demo --format nonsense
compare demo demo
compare demo runs/a/variants
compare demo/variants/model-float32.tflite demo/variants/model-int8.tflite --rounds 6
compare demo demo --fail-if 'size>5%' --fail-if 'drop>50'
compare demo demo --fail-if 'size>1kB'
compare demo demo --fail-if 'latency>1us' --strict
compare demo demo --fail-if nonsense
compare demo nowhere
compare demo
bundle demo/model.keras
bundle demo/variants/model-int8.tflite --out app2.zip --board nonsense
bundle demo/variants/model-dynamic.tflite --out app.pyz --format pyz --samples 4
verify app.zip
verify tampered.zip
verify app.zip --key labels.txt
engine list
engine add nonsense
engine remove nonsense
board info no-such-host.invalid
board bench no-such-host.invalid demo/variants
doctor
nonsense
doctor --nonsense
""".strip().splitlines()
"""Commands that use what `MAKE` and `prepare` leave; right usages and wrong ones."""
RUNTIME = """
info demo/variants/model-int8.tflite
selftest demo/variants/model-int8.tflite
classify demo/variants/model-int8.tflite demo/images/a-0.png
classify missing.tflite demo/images/a-0.png
bench demo/variants/model-int8.tflite --seconds 1
doctor
""".strip().splitlines()
"""Commands of the board."""


def main() -> None:
    """Run both sides at the same time, print what differs, exit with 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a clone, or a Python that has edgepress")
    parser.add_argument("--after", type=Path, required=True, help="the same kind of thing")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="runs what is given as a clone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        sides = [
            pool.submit(run_all, side.absolute(), options.python, Path(folder) / name)
            for name, side in (("before", options.before), ("after", options.after))
        ]
        before, after = (side.result() for side in sides)
    names = [*before, *(after.keys() - before.keys())]
    found = {name: list(differences(before.get(name), after.get(name))) for name in names}
    for name, lines in found.items():
        for line in lines:
            print(f"{name}\n    {line}", file=sys.stderr)
    codes = sorted({d["exit"] for d in before.values() if isinstance(d, dict) and "exit" in d})
    differing = sum(map(bool, found.values()))
    print(json.dumps({"documents": len(found), "differing": differing, "exit_codes_seen": codes}))
    sys.exit(differing > 0)


def run_all(side: Path, python: Path, folder: Path) -> dict[str, Any]:
    """Every document of one side by its command line, and the JSON files that the commands leave by their path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if side.is_dir():
        environment["PYTHONPATH"] = str(side / ".types")
        script = tomllib.loads((side / "pyproject.toml").read_text())["project"]["scripts"]["edgepress"]
        module, _, function = script.partition(":")
        edgepress = [str(python), "-c", f"import sys; from {module} import {function}; sys.exit({function}())"]
    else:
        python, edgepress = side, [str(side.with_name("edgepress"))]
    folder.mkdir()
    environment |= {
        "PYTHONHASHSEED": "0",  # tf2onnx numbers its nodes in the order of sets
        "EDGEPRESS_CACHE": str(folder / ".cache"),
        "XDG_STATE_HOME": str(folder / ".state"),
    }
    found: dict[str, Any] = {}

    def run(name: str, command: list[str]) -> None:
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        print(f"{result.returncode} {folder.name}: {name}", file=sys.stderr)
        found[name] = {"exit": result.returncode, "printed": documents(result.stdout)}

    def run_all_of(lines: list[str]) -> None:
        for line in lines:
            run(f"edgepress {line}", [*edgepress, *shlex.split(line), "--json"])

    run_all_of(MAKE)
    prepare(folder)
    run_all_of(USE)
    for line in RUNTIME:
        run(f"edgepress.runtime {line}", [str(python), "-m", "edgepress.runtime", *line.split(), "--json"])
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("."):
            found[name] = json.loads(path.read_text())
    for path in sorted(folder.rglob("*.csv")):
        found[path.relative_to(folder).as_posix()] = path.read_text().partition("\n")[0]
    found["files"] = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if "/." not in f"/{p.relative_to(folder)}"
    )
    return found


def prepare(folder: Path) -> None:
    """What the commands of `USE` need: a model that says nothing of itself, broken files, labels."""
    with zipfile.ZipFile(folder / "runs/a/model.keras") as own, zipfile.ZipFile(folder / "foreign.keras", "w") as other:
        for name in own.namelist():
            if name != "edgepress.json":
                other.writestr(name, own.read(name))
    (folder / "labels.txt").write_text("\n".join(map(str, range(10))))
    whole = (folder / "demo/variants/model-int8.tflite").read_bytes()
    (folder / "broken.tflite").write_bytes(whole[: len(whole) // 2])
    bundle = bytearray((folder / "app.zip").read_bytes())
    bundle[len(bundle) // 2] ^= 1
    (folder / "tampered.zip").write_bytes(bundle)


def documents(text: str) -> Any:
    """What was printed as JSON: one document, a list of them if each line is one, or the text if it is no JSON."""
    for read in (json.loads, lambda t: [json.loads(line) for line in t.splitlines()]):
        try:
            return read(text)
        except ValueError:
            continue
    return {"no JSON": text}


def differences(before: Any, after: Any, where: str = "", key: str = "") -> Iterator[str]:
    """What differs between two documents, one line each."""
    if key == "notes" or (PROSE.fullmatch(key) and bool(before) == bool(after)):
        return
    varies = bool(VARYING.fullmatch(key))
    if varies and (before is None or after is None):  # such as an interval that was too wide this time
        return
    if type(before) is not type(after) and {type(before), type(after)} != {int, float}:
        yield f"{where}: {before!r:.80} became {after!r:.80}"
    elif isinstance(before, dict):
        yield from (f"{where}.{name} is {'gone' if name in before else 'new'}" for name in before.keys() ^ after.keys())
        timed = "p50_us" in before
        timed_gate = GATE.match(str(before.get("gate", before.get("name", ""))))
        source = str(before.get("path", "")).endswith(".py")  # in a bundle
        for name in sorted(before.keys() & after.keys()):
            measured = varies or timed_gate or (timed and name in CALLS) or (source and name == "size_bytes")
            yield from differences(before[name], after[name], f"{where}.{name}", "measured_s" if measured else name)
    elif isinstance(before, list):
        if len(before) != len(after) and not varies:
            yield f"{where}: {len(before)} items became {len(after)}"
        for i, (a, b) in enumerate(zip(in_order(before), in_order(after), strict=False)):
            yield from differences(a, b, f"{where}[{i}]", key)
    elif before != after and not varies and not (SIZE.fullmatch(key) and near(before, after)):
        yield f"{where}: {before!r:.80} became {after!r:.80}"


def in_order(items: list[Any]) -> list[Any]:
    """A list as it is, but for those that a profile sorts by time."""
    if all(isinstance(item, dict) and "share" in item for item in items):
        return sorted(items, key=lambda item: (item.get("operation"), item.get("name"), item.get("count")))
    return items


def near(before: Any, after: Any) -> bool:
    """Whether two sizes are the same but for the text of source files."""
    return isinstance(before, int | float) and abs(before - after) <= NEAR * abs(before)


if __name__ == "__main__":
    main()
