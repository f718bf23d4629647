"""Two ways from a Keras model to ONNX: from the float `.tflite` file, and from the frozen TensorFlow graph by tf2onnx.

    python benchmarks/onnx_routes.py --out CACHE [--models lenet,MobileNetV2@96] [--schemes onnx-float32,onnx-int8]
        [--rounds 15] [--budget-s 0.4] [--clock wall|cpu]

Each route converts in a process of its own, with the rewrites of `converters.rewrites`; the `.tflite` file is made
either way, because the TFLite schemes need it, so its time is not counted. The files of a net are timed in alternation on one thread
(`rewrite_timing`). For each scheme, the table holds what both routes give, the frozen graph's first:

* what the answers are worth: signal to noise, dB, of Keras' own answers (`rewrite_nets`); right ones, if there are labels;
* numbers of nodes and of Transposes; bytes;
* the ratio of the times of a call, with its 95 % interval; below 1, the route through TFLite is faster;
* seconds and peak memory, beyond that of the opened model, of making the float graph.

Names in the `.tflite` graph that the ONNX graph lacks are counted, too. Exits with 1 if a route failed for a net, if the route
through TFLite has more Transposes, or if it loses more than 0.3 dB where it is below 80 dB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

from rewrite_nets import REAL, Net, nets
from rewrite_timing import add_options, options_of, sqnr_db, timed, words
from side_by_side import summarize

from edgepress.converters.schemes import SCHEMES, parse_schemes
from edgepress.toolkit.host.describe import describe_host

ROUTES = ("frozen", "tflite")
SCHEME_NAMES = "onnx-float32,onnx-dynamic,onnx-int8"
LOSS_DB, BEYOND_DB = 0.3, 80.0


def main() -> None:
    """Convert, time and compare the nets asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the nets, as `rewrites.py` makes them")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real data")
    parser.add_argument("--models", default="", help="words that the names of the wanted nets hold")
    parser.add_argument("--schemes", default=SCHEME_NAMES)
    add_options(parser)
    args = parser.parse_args()
    wanted = [w for w in args.models.split(",") if w]
    chosen = [Net(w, args.out, args.real) for w in wanted if (args.out / w).is_dir()]
    chosen += (
        nets(args.out, [w for w in wanted if not (args.out / w).is_dir()], real=args.real)
        if len(chosen) < len(wanted) or not wanted
        else []
    )
    rows = []
    for net in chosen:
        net.make()
        rows += compared(net, parse_schemes(args.schemes), args)
    words([json.dumps({"host": describe_host(), "rows": rows})])
    sys.exit(any(row["broken"] for row in rows))


def compared(net: Net, schemes: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a scheme, printed as it is made."""
    made: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            made[route] = pool.submit(convert, net, route, schemes).result()
    before, after = (made[route] for route in ROUTES)
    words([
        f"{net.name}: {before['seconds']:.2f} -> {after['seconds']:.2f} s, {before['mb']:.0f} -> {after['mb']:.0f} MB; "
        f"{after['lost']} of {after['names']} names lost; tf2onnx {'' if after['error'] or not after['foreign'] else 'USED'}"
    ])  # fmt: skip
    if before["error"] or after["error"]:
        words([f"  frozen: {before['error'] or 'made'}; tflite: {after['error'] or 'made'}"])
        return [{"net": net.name, "errors": [before["error"], after["error"]], "broken": bool(after["error"])}]
    items, rows = net.items(), []
    for scheme in schemes:
        sides = [made[route]["files"][scheme] for route in ROUTES]
        calls, worth = {}, []
        for route, side in zip(ROUTES, sides, strict=True):
            session = _session(side["bytes"])
            source = session.get_inputs()[0].name
            scores = _answers(session, items["test"])
            right = float((scores.argmax(1) == items["labels"]).sum()) if "labels" in items else None
            worth.append((sqnr_db(scores, items["truth"]), right))
            one = items["test"][:1]
            calls[route] = lambda session=session, source=source, one=one: session.run(None, {source: one})
        times = timed(calls, **options_of(args))
        ratio = summarize(scheme, times["tflite"], times["frozen"])
        (db, right), (new_db, new_right) = worth
        turns, new_turns = (side["kinds"].get("Transpose", 0) for side in sides)
        broken = [] if new_turns <= turns else ["more Transposes"]
        if min(db, BEYOND_DB) - min(new_db, BEYOND_DB) > LOSS_DB:
            broken.append("less accurate")
        sizes, counts = [len(side["bytes"]) for side in sides], [sum(side["kinds"].values()) for side in sides]
        lacking = [f"{k} {n}->{sides[1]['rewrites'].get(k, 0)}" for k, n in sides[0]["rewrites"].items() if n != sides[1]["rewrites"].get(k, 0)]  # fmt: skip
        low, high = ratio.ratio_low or 0, ratio.ratio_high or 0
        right_words = f"  right {right:.0f} -> {new_right:.0f}" if right is not None else ""
        words([
            f"  {scheme:14}{db:6.1f} -> {new_db:5.1f} dB{right_words}  Transposes {turns} -> {new_turns}  nodes {counts[0]} -> {counts[1]}"
            f"  kB {sizes[0] / 1e3:.0f} -> {sizes[1] / 1e3:.0f}  us {ratio.theirs_us:.0f} -> {ratio.ours_us:.0f}"
            f"  ratio {ratio.ratio:.3f} [{low:.3f}, {high:.3f}]  {', '.join(lacking)}"
            + (f"  NOT KEPT: {', '.join(broken)}" if broken else "")
        ])  # fmt: skip
        rows.append({
            "net": net.name, "scheme": scheme, "db": [db, new_db], "right": [right, new_right],
            "transposes": [turns, new_turns], "nodes": counts, "bytes": sizes, "ratio": ratio.ratio,
            "interval": [low, high], "seconds": [before["seconds"], after["seconds"]], "mb": [before["mb"], after["mb"]],
            "rewrites": [side["rewrites"] for side in sides], "broken": broken,
        })  # fmt: skip
    return rows


def convert(net: Net, route: str, schemes: Sequence[str]) -> dict[str, Any]:
    """Every scheme by one route, in this process: bytes, kinds of nodes, and rewrites; or the error."""
    from collections import Counter

    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.guess import guess_contract
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.contract.probe import probed
    from edgepress.converters.rewrites.table import Stage, rewrites_for, rewritten_onnx
    from edgepress.converters.sources.open import open_source
    from edgepress.converters.to_onnx.from_tflite import float_onnx_of
    from edgepress.converters.to_onnx.interface import adapted
    from edgepress.converters.to_onnx.quantize import with_scheme

    hints = Hints() if net.trained else Hints(task="logits")
    source = open_source(net.model, hints)
    source.facts = probed(source.facts, source.answer)
    guess = guess_contract(source.facts, hints)
    waist = source.tflite(guess.adapter)
    base, start = _peak_mb(), time.perf_counter()
    result: dict[str, Any] = {"error": "", "files": {}, "lost": 0, "names": 0, "foreign": False}
    try:
        if route == "frozen":
            model = source.onnx(guess.adapter)
        else:
            model = adapted(float_onnx_of(waist), InputAdapter(guess.contract.input, guess.contract.input.shape))
    except Exception as e:
        result["error"] = f"{type(e).__name__}: {e}"
    result |= {"seconds": time.perf_counter() - start, "mb": _peak_mb() - base}
    if result["error"]:
        return result
    if route == "tflite":
        result |= _names(waist, model)
    items = net.items()["calibration"]
    for name in schemes:
        scheme = SCHEMES[name]
        first, recipe, last = (rewrites_for(scheme, "cpu", stage) for stage in get_args(Stage))
        graph, counted = rewritten_onnx(model, first)
        chosen = rewritten_onnx(graph, recipe)[1]
        graph = with_scheme(graph, scheme, lambda: [items], guess.contract.input.value_range, chosen)
        graph, more = rewritten_onnx(graph, last)
        kinds = Counter(node.op_type for node in graph.graph.node)
        result["files"][name] = {
            "bytes": graph.SerializeToString(),
            "kinds": dict(kinds),
            "rewrites": counted | chosen | more,
        }
    return result


def _names(waist: bytes, model: Any) -> dict[str, Any]:
    """How many tensors that operations of the TFLite graph make are not in the ONNX graph; whether tf2onnx wrote it."""
    from edgepress.converters.to_tflite.graph import Graph

    graph = Graph(waist)
    wanted = {graph.name(int(i)) for op in graph.operators for i in op.outputs}
    there = {name for node in model.graph.node for name in node.output}
    return {"lost": len(wanted - there), "names": len(wanted), "foreign": model.producer_name == "tf2onnx"}


def _peak_mb() -> float:
    """Peak resident memory of this process so far, MB (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answers(session: Any, items: Any) -> Any:
    """Answers to items, one by one, because the scales of dynamic quantization come from all items of a call."""
    import numpy as np

    source = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {source: item[np.newaxis]})[0] for item in items]).astype(np.float64)


if __name__ == "__main__":
    main()
