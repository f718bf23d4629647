"""The claims of `evidence.py`: what is claimed, the script that measures it, and what of its output is the figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
Lines = Sequence[str]
CACHE = "{cache}"
"""Stands for the folder of caches in a command."""
REAL = "{real}"
"""Stands for the folder of real models and data in a command."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: What `--only` calls it.
        claim: What the README or the guides say.
        protocol: What is done, in a sentence or two.
        command: The script in `benchmarks/` and its options. Exit code 0 means that its limits were kept.
        minutes: How long it takes about, alone on two cores.
        timed: Whether it times, and so wants an idle machine.
        figure: The figure in words, from the JSON document that the script printed last and from its lines.
        rivals: Where another tool is better, from the same output; "" if nowhere, None if no rival is in it.
    """

    name: str
    claim: str
    protocol: str
    command: tuple[str, ...]
    minutes: int
    figure: Callable[[Document, Lines], str]
    rivals: Callable[[Document, Lines], str] | None = None
    timed: bool = False


def _table(found: Document, lines: Lines) -> str:
    rows = {row["scheme"]: row for row in found["rows"]}
    base = rows["tflite-float32"]
    shown = [
        f"`{name}` {rows[name]['size_bytes'] / base['size_bytes']:.2f} of its size, "
        f"{rows[name]['speedup']:.2f} times as fast, drop {_drop(rows[name])}"
        for name in dict.fromkeys(("tflite-int8", "onnx-int8", found["ship"]))
    ]
    return (
        f"beside `tflite-float32`, which has {100 * base['accuracy']:.2f} % of {found['count']:,} test images right: "
        f"{'; '.join(shown)}; recommended is `{found['ship']}`"
    )


def _table_rivals(found: Document, lines: Lines) -> str:
    ours = {row["format"]: row for row in found["rows"] if row["scheme"] in ("tflite-int8", "onnx-int8")}
    better = []
    for row in found["rows"]:
        if not row["bare"]:
            continue
        mine = ours[row["format"]]
        parts = [f"drop {_drop(row)} against {_drop(mine)}"] if row["drop_pp"] < mine["drop_pp"] else []
        parts += [
            f"{row[key] / scale:.1f} {unit} against {mine[key] / scale:.1f}"
            for key, scale, unit in (("size_bytes", 1000, "kB"), ("p50_us", 1, "µs"))
            if row[key] < mine[key]
        ]
        better += [f"{row['scheme']}: {', '.join(parts)}"] if parts else []
    return "; ".join(better)


def _drop(row: Document) -> str:
    return f"{row['drop_pp']:+.2f} pp [{row['drop_low_pp']:+.2f}, {row['drop_high_pp']:+.2f}]"


def _kept(found: Document, lines: Lines) -> str:
    rows = (f"{name}: {row['judged'] - row['not_kept']} of {row['judged']}" for name, row in found["rows"].items())
    return f"files that kept their limit, {'; '.join(rows)}"


def _kept_rivals(found: Document, lines: Lines) -> str:
    worse = [re.sub(r"\s+", " ", line).strip() for line in lines if "worse than" in line]
    return "; ".join(worse)


def _tools(found: Document, lines: Lines) -> str:
    pairs = (f"{row['net']} {row['side']} {row['ratio']:.3f}" for row in found["comparisons"])
    return f"ours / theirs, median over rounds: {', '.join(pairs)}"


def _gate(found: Document, lines: Lines) -> str:
    beyond = [row for row in found["rows"] if not row["false"]]
    return (
        f"false alarms of a kind of comparison, at most {found['worst_false_share']:.1%} of {found['trials']}; "
        f"alarms on changes beyond the limit, least {min(r['fired'] for r in beyond):.0%}, "
        f"most {max(r['fired'] for r in beyond):.0%}"
    )


def _proof(found: Document, lines: Lines) -> str:
    wrong, right, between = (found.get(truth, 0) for truth in ("wrong", "right", "between"))
    return (
        f"{found['nets']} nets; of {wrong} verifications of wrong files {found['wrong accepted']} accepted the file, "
        f"of {right} of sound ones {found['right refused']} refused it; {between} were of files in between"
    )


def _intervals(found: Document, lines: Lines) -> str:
    ours = next(iter(found["summary"].values()))  # the method that edgepress uses comes first
    return (
        f"the interval holds the true drop in {ours['overall']:.1%} of {found['outcomes']:,} outcomes a setting; the "
        f"true drop is above it in at most {ours['above_at_most']:.2%} of those of any setting"
    )


def _violations(found: Document, lines: Lines) -> str:
    count = found["violations"] if isinstance(found["violations"], int) else len(found["violations"])
    if "copies" in found:
        return f"{found['copies']:,} damaged files, {count} broke a rule"
    return f"{found.get('requests', found.get('sent', 'all')):} requests, {count} broken promises"


def _last(found: Document, lines: Lines) -> str:
    return lines[-1].strip().rstrip(".")


def _runtime_memory(found: Document, lines: Lines) -> str:
    ours, bare = (found["median_bytes"][side] / 1e6 for side in ("classify", "bare"))
    return f"{ours:.1f} MB, {found['added_bytes'] / 1e6:+.1f} MB beside the bare interpreter's {bare:.1f} MB"


def _copies(found: Document, lines: Lines) -> str:
    return "; ".join(f"{scheme}: {_middle(both['ours']):.1f}" for scheme, both in found["copies"].items()) + (
        f" times the weights of {found['model']} ({found['size_bytes'] / 1e6:.0f} MB)"
    )


def _copies_rivals(found: Document, lines: Lines) -> str:
    pairs = {scheme: (_middle(both["theirs"]), _middle(both["ours"])) for scheme, both in found["copies"].items()}
    return "; ".join(f"bare {s}: {t:.1f} against {o:.1f} times" for s, (t, o) in pairs.items() if t < o)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _page(found: Document, lines: Lines) -> str:
    return (
        f"{found['size_bytes'] / 1000:.0f} kB, drawn {found['open_s']['median']:.2f} s after it is opened (median); "
        f"findings of axe-core: {sum(map(len, found['axe'].values()))}"
    )


CLAIMS = (
    Claim(
        "table",
        "A quantized file is smaller, faster and as accurate; the README's table shows it beside those of bare tools.",
        "MobileNetV3-Small trained on 3,000 digits of MNIST; our nine files and the int8 files of TFLiteConverter, "
        "litert-quantizer and ONNX Runtime from the same net, measured in one benchmark on 1,500 test images.",
        ("docs/readme_table.py", "--out", f"{CACHE}/table", "--print"),
        10,
        _table,
        _table_rivals,
        timed=True,
    ),
    Claim(
        "accuracy",
        "Quantized files keep their accuracy, also of nets that plain int8 damages.",
        "Nine architectures on MNIST and sign digits, files made by others, and nets with damaging ranges; the drop "
        "of int8 files on whole test splits, beside those of bare tools. Needs the folder of real data.",
        ("accuracy/accuracy.py", "--out", f"{CACHE}/accuracy", "--only", "natural,hurt"),
        240,
        _kept,
        _kept_rivals,
    ),
    Claim(
        "latency",
        "Latencies agree with the engines' own tools.",
        "LeNet and MobileNetV2, float32, one pinned CPU; rounds alternate between our timing and theirs in fresh "
        "processes. Holds if the median ratio is within 5 % of 1; `invoke` decides nothing.",
        ("speed/peer_tools.py", "--rounds", "10", "--files", f"{CACHE}/timing"),
        5,
        _tools,
        timed=True,
    ),
    Claim(
        "proof",
        "`convert` accepts no file that loses 5 points of accuracy or more, and refuses at most 1 % of sound ones.",
        "A net of each of 12 kinds, drawn by a fresh seed, trained on digits of MNIST in random colors, and made hard "
        "for quantization; files of all schemes, and copies that were broken on purpose. A file is wrong if it loses "
        "at least 5 points of accuracy on 3,000 other images, and sound if nothing was changed in it and it loses at "
        "most 2. The files' answers are kept in the cache, and a later run judges them again. Needs the folder of real "
        "data.",
        ("proof/proof_table.py", "--real", REAL, "--cache", f"{CACHE}/proof", "--fresh", "50621", "--jobs", "1"),
        12,
        _proof,
    ),
    Claim(
        "intervals",
        "A drop has a 95 % confidence interval, and a file is called proven only if its upper end is within the limit.",
        "Synthetic outcomes of known truth for many numbers of test items and of items that differ.",
        ("proof/interval_coverage.py",),
        3,
        _intervals,
    ),
    Claim(
        "recommendation",
        "A recommended file loses less than the limit with at least the probability that was asked for.",
        "Simulated pairs of files with known drops near the limit; 200 to 500 test images are drawn again and again, "
        "and the rule sees only those. Holds if at most 10 % of recommended files are beyond the limit, and at least "
        "90 % have a product of size and latency within 1.1 times that of the best file (near).",
        ("proof/recommendation.py", "--simulated", "--draws", "200"),
        5,
        lambda found, lines: "; ".join(line.strip() for line in lines[-2:]),
    ),
    Claim(
        "gate",
        "The CI gate fails only on changes that the measurements establish.",
        "Synthetic results of known truth below, at and beyond the limit. Holds if at most 5 % of alarms are false.",
        ("proof/gate_power.py", "--trials", "100"),
        2,
        _gate,
    ),
    Claim(
        "corrupted",
        "No damaged model file makes a command hang, crash or show a traceback.",
        "Copies of model files with flipped bits, cut off, or spliced go to `inspect`, `convert` and `predict`.",
        ("faults/corrupted_files.py", "--made-only", "--copies", "100", "--seeds", "1", "--jobs", "1"),
        8,
        _violations,
    ),
    Claim(
        "serve",
        "The server on a board answers others while it is attacked, and its memory stays bounded.",
        "Malformed, oversized, slow, truncated and forged requests and extreme pictures, beside a client that must "
        "always be answered.",
        ("faults/serve_fuzz.py", "--requests", "300"),
        5,
        _violations,
    ),
    Claim(
        "bundles",
        "`verify` refuses each tampered bundle.",
        "A signed bundle is changed in all the ways of the script, seeded; only one `BundleError` may come of it.",
        ("faults/tampered_bundles.py", "--count", "300"),
        3,
        _last,
    ),
    Claim(
        "updates",
        "An update that is interrupted at any point leaves a release that runs.",
        "`install.sh` is killed before its system calls that change something: all processes, and one alone.",
        ("faults/install_kills.py", "--only", "update,rollback", "--every", "4"),
        5,
        _last,
    ),
    Claim(
        "killed",
        "A killed command leaves no temporary folder once the next command has run.",
        "`convert`, `train`, `benchmark` and `sweep` are killed with SIGKILL at random moments.",
        ("faults/killed_commands.py", "--kills", "8", "--longest", "12", "--seed", "1"),
        5,
        _last,
    ),
    Claim(
        "runtime-memory",
        "The runtime needs numpy and one interpreter, and little memory beside them.",
        "Peak resident memory of `classify` and of a bare script with the same steps, LeNet int8, fresh processes.",
        ("memory/runtime_memory.py", "--rounds", "5"),
        1,
        _runtime_memory,
    ),
    Claim(
        "conversion-memory",
        "A conversion holds few copies of the model's weights.",
        "Peak resident memory of one float file less that of importing TensorFlow, beside the bare calls of "
        "TFLiteConverter and tf2onnx.",
        ("memory/conversion_memory.py", "--rounds", "1", "--model", "ResNet50"),
        4,
        _copies,
        _copies_rivals,
    ),
    Claim(
        "page",
        "The report is one small page that opens at once and that everybody can read.",
        "Made-up results of nine files on three engines in headless Chromium. Holds below 1 MB, below 1 s, and without "
        "a serious finding of axe-core in light or dark.",
        ("pages/report_page.py", "--rounds", "5"),
        1,
        _page,
        timed=True,
    ),
)
ELSEWHERE = (
    (
        "Real boards",
        "Arm's model cards give times of a Raspberry Pi 5 (ExecuTorch with XNNPACK), MLPerf Tiny those of "
        "microcontrollers. No figure of edgepress was measured on a real board.",
    ),
    (
        "ImageNet",
        "MQBench, AIMET, NNCF, Intel's Neural Compressor and TI's model zoo publish drops of int8 and 4-bit files on "
        "ImageNet. Its data were not at hand; drops here are of smaller data sets.",
    ),
    (
        "Microcontrollers",
        "BakeNN, TinyEngine, Eclipse Aidge and TensorFlow Lite Micro make C code or run without an operating system. "
        "edgepress' runtime needs Linux and Python.",
    ),
    (
        "Other engines",
        "Ultralytics' guide for the Raspberry Pi finds OpenVINO and ncnn faster than ONNX Runtime and TFLite for a "
        "detector. edgepress measures OpenVINO, but makes no files for ncnn or MNN.",
    ),
    (
        "Devices by serial line or in a cloud",
        "Silicon Labs' mltk, ST's model zoo services, Edge Impulse and Arm's AI Model Optimizer measure on devices "
        "that they reach; edgepress reaches Linux boards by ssh alone.",
    ),
)
"""Where others are better, by what they publish; nothing of it was measured here."""
