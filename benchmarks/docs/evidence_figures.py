"""The figures of `evidence.py`: what of a script's output is shown, in words.

Each function gets the JSON document that the script printed last, {} if none, and the lines before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Lines = Sequence[str]


def compare_files(document: Document, lines: Lines) -> str:
    """Size, speed and drop of the int8 files and of the recommended one, from `readme_table.py`."""
    rows = {row["scheme"]: row for row in document["rows"]}
    base = rows["tflite-float32"]
    shown = [
        f"`{name}` {rows[name]['size_bytes'] / base['size_bytes']:.2f} of its size, "
        f"{rows[name]['speedup']:.2f} times as fast, drop {_drop(rows[name])}"
        for name in dict.fromkeys(("tflite-int8", "onnx-int8", document["ship"]))
    ]
    return (
        f"beside `tflite-float32`, which has {100 * base['accuracy']:.2f} % of {document['count']:,} test images "
        f"right: {'; '.join(shown)}; recommended is `{document['ship']}`"
    )


def better_files_of_rivals(document: Document, lines: Lines) -> str:
    """Where a bare tool's file is smaller, faster or more accurate than ours of its format."""
    ours = {row["format"]: row for row in document["rows"] if row["scheme"] in ("tflite-int8", "onnx-int8")}
    better = []
    for row in document["rows"]:
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


def kept_limits(document: Document, lines: Lines) -> str:
    """How many files kept their limit, and why the others did not, from `accuracy.py`."""
    rows = (f"{name}: {row['judged'] - row['not_kept']} of {row['judged']}" for name, row in document["rows"].items())
    others = [why for row in document["rows"].values() for why in row["reasons"] if "is better by" not in why]
    return f"files that kept their limit, {'; '.join(rows)}" + (f" (not: {'; '.join(others)})" if others else "")


def worse_than_rivals(document: Document, lines: Lines) -> str:
    """The files than which another tool's is better beyond the interval, from `accuracy.py`."""
    return "; ".join(why for row in document["rows"].values() for why in row["reasons"] if "is better by" in why)


def latencies(document: Document, lines: Lines) -> str:
    """The ratios of `peer_tools.py`."""
    pairs = (f"{row['net']} {row['side']} {row['ratio']:.3f}" for row in document["comparisons"])
    return f"ours / theirs, median over rounds: {', '.join(pairs)}"


def alarms(document: Document, lines: Lines) -> str:
    """False and right alarms of `gate_power.py`."""
    beyond = [row for row in document["rows"] if not row["false"]]
    return (
        f"false alarms of a kind of comparison, at most {document['worst_false_share']:.1%} of {document['trials']}; "
        f"alarms on changes beyond the limit, least {min(r['fired'] for r in beyond):.0%}, "
        f"most {max(r['fired'] for r in beyond):.0%}"
    )


def verdicts(document: Document, lines: Lines) -> str:
    """Wrong files that were accepted and sound ones that were refused, from `proof_table.py`."""
    wrong, right, between = (document.get(truth, 0) for truth in ("wrong", "right", "between"))
    return (
        f"{document['nets']} nets; of {wrong} verifications of wrong files {document['wrong accepted']} accepted the "
        f"file, of {right} of sound ones {document['right refused']} refused it; {between} were of files in between"
    )


def coverage(document: Document, lines: Lines) -> str:
    """How often the interval of edgepress holds the true drop, from `interval_coverage.py`."""
    ours = next(iter(document["summary"].values()))  # the method that edgepress uses comes first
    return (
        f"the interval holds the true drop in {ours['overall']:.1%} of {document['outcomes']:,} outcomes a setting; "
        f"the true drop is above it in at most {ours['above_at_most']:.2%} of those of any setting"
    )


def broken_promises(document: Document, lines: Lines) -> str:
    """What broke a rule, from the scripts that damage files or send requests."""
    violations = document["violations"]
    count = violations if isinstance(violations, int) else len(violations)
    if "copies" in document:
        return f"{document['copies']:,} damaged files, {count} broke a rule"
    return f"{document.get('requests', document.get('sent', 'all')):} requests, {count} broken promises"


def last_line(document: Document, lines: Lines) -> str:
    """The last line."""
    return lines[-1].strip().rstrip(".")


def memory_of_runtime(document: Document, lines: Lines) -> str:
    """Memory of `classify` beside that of the bare interpreter."""
    ours, bare = (document["median_bytes"][side] / 1e6 for side in ("classify", "bare"))
    return f"{ours:.1f} MB, {document['added_bytes'] / 1e6:+.1f} MB beside the bare interpreter's {bare:.1f} MB"


def copies_of_weights(document: Document, lines: Lines) -> str:
    """How many times the weights a conversion holds."""
    return "; ".join(f"{scheme}: {_middle(both['ours']):.1f}" for scheme, both in document["copies"].items()) + (
        f" times the weights of {document['model']} ({document['size_bytes'] / 1e6:.0f} MB)"
    )


def copies_of_rivals(document: Document, lines: Lines) -> str:
    """Where a bare converter holds fewer."""
    pairs = {scheme: (_middle(both["theirs"]), _middle(both["ours"])) for scheme, both in document["copies"].items()}
    return "; ".join(f"bare {s}: {t:.1f} against {o:.1f} times" for s, (t, o) in pairs.items() if t < o)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def size_of_page(document: Document, lines: Lines) -> str:
    """Size, time to open and findings of axe-core, from `report_page.py`."""
    return (
        f"{document['size_bytes'] / 1000:.0f} kB, drawn {document['open_s']['median']:.2f} s after it is opened "
        f"(median); findings of axe-core: {sum(map(len, document['axe'].values()))}"
    )


def totals(document: Document, lines: Lines) -> str:
    """The two lines at the end of `recommendation.py`."""
    return "; ".join(line.strip() for line in lines[-2:])


def promises(document: Document, lines: Lines) -> str:
    """How often promises were broken and how much was accepted, over all files of `promises.py`."""
    pattern = r"limit (\S+) %: broken (\S+) %, covered (\S+) %; plug-in broken (\S+) %.*oracle (\S+) %"
    rows = [tuple(map(float, match.groups())) for line in lines if (match := re.search(pattern, line))]
    shown = []
    for limit in sorted({row[0] for row in rows}):
        _, broken, covered, plug_in, oracle = zip(*(row for row in rows if row[0] == limit), strict=True)
        shown.append(
            f"{limit:g} %: broken in at most {max(broken)} % of draws (the usual choice: {max(plug_in)} %), "
            f"{min(covered)} to {max(covered)} % accepted (at most possible {min(oracle)} to {max(oracle)} %)"
        )
    return f"{len(rows)} promises; error of {'; '.join(shown)}"


def false_alarms(document: Document, lines: Lines) -> str:
    """The false alarms of `drift.py`."""
    return "; ".join(line.strip() for line in lines if line.startswith(("independent", "video")))


def exported_code(document: Document, lines: Lines) -> str:
    """Memory, flash and instructions of the shared kernels, which are the default, from `c99.py sizes`."""
    return "; ".join(
        f"{row['file']}: {row['RAM']} bytes of RAM ({row['of TFLM RAM']} of TFLM's), {row['flash']} of flash "
        f"({row['of TFLM flash'] or 'no figure'}), {row['fewer']} times fewer instructions than TFLM's reference "
        f"kernels, {row['of CMSIS-NN']} of CMSIS-NN's"
        for row in _kernel_rows(lines)
        if row["kernels"] == "shared"
    )


def exported_code_of_rivals(document: Document, lines: Lines) -> str:
    """The ratios of `c99.py sizes` in which TFLM or CMSIS-NN is ahead."""
    return "; ".join(
        f"{row['file']}: {key} {row[key]}"
        for row in _kernel_rows(lines)
        if row["kernels"] == "shared"
        for key in ("of TFLM RAM", "of TFLM flash", "of CMSIS-NN")
        if row[key] and float(row[key]) > 1
    )


def _kernel_rows(lines: Lines) -> list[dict[str, str]]:
    keys = ("file", "kernels", "RAM", "of TFLM RAM", "flash", "of TFLM flash", "instructions", "fewer", "of CMSIS-NN")
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    return [dict(zip(keys, row, strict=True)) for row in list(cells)[2:]]


def equal_answers(document: Document, lines: Lines) -> str:
    """The counts of equal answers, by the name of the file alone."""
    return "; ".join(line.strip().rsplit("/", 1)[-1] for line in lines)


def lost_events(document: Document, lines: Lines) -> str:
    """What `mqtt_kills.py` counted."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in document.items() if type(value) is int)


def all_lines(document: Document, lines: Lines) -> str:
    """Everything that was printed."""
    return "; ".join(re.sub(r"\s+", " ", line).strip() for line in lines)
