"""Two ways from a Keras model to ONNX: from the float `.tflite` file, and from the frozen TensorFlow graph by tf2onnx.

    python benchmarks/speed/onnx_routes.py --out CACHE [--models lenet,MobileNetV2@96]
        [--schemes onnx-float32,onnx-int8]
        [--rounds 15] [--budget-s 0.4] [--clock wall|cpu]

Each route converts in a process of its own, with the rewrites of `converters.rewrites`; the `.tflite` file is made
either way, because the TFLite schemes need it, so its time is not counted. The files of a net are timed in alternation
on one thread (`rewrite_timing`). For each scheme, the table holds what both routes give, the frozen graph's first:

* what the answers are worth: signal to noise, dB, of Keras' own answers (`rewrite_nets`); right ones, if it is trained;
* numbers of Transposes and of nodes; bytes; microseconds;
* the ratio of the times of a call, with its 95 % interval; below 1, the route through TFLite is faster;
* rewrites that were made at other numbers of places.

Seconds and peak memory are those of making the float graph, beyond what was there before; names are tensors of the
`.tflite` graph that the ONNX graph lacks. `--models` takes names of nets in the cache, or words that the names hold.
Exits with 1 if the route through TFLite failed, has more Transposes, or loses more than 0.3 dB where it is below 80 dB.
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
from functools import partial
from pathlib import Path
from typing import Any, get_args

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from rewrite_nets import REAL, Net, nets
from rewrite_timing import add_options, options_of, sqnr_db, timed, words
from side_by_side import summarize

from edgepress.converters.schemes import SCHEMES, parse_schemes
from edgepress.toolkit.machine.host import describe_host

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
    exact = [w for w in args.models.split(",") if (args.out / w / "items.npz").exists()]
    words_of = [w for w in args.models.split(",") if w and w not in exact]
    chosen = [Net(name, args.out, args.real) for name in exact if name]
    if words_of or not chosen:
        chosen += nets(args.out, words_of, real=args.real)
    rows = []
    for net in chosen:
        net.make()
        rows += compared(net, parse_schemes(args.schemes), args)
    words([json.dumps({"host": describe_host(), "rows": rows})])
    sys.exit(any(row["broken"] for row in rows))


def compared(net: Net, schemes: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a scheme, printed as it is made; each pair is (frozen, tflite)."""
    made = []
    for route in ROUTES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            made.append(pool.submit(convert, net, route, schemes).result())
    pairs = {key: [side[key] for side in made] for key in ("seconds", "mb", "error")}
    words([
        f"{net.name}: {_pair(pairs['seconds'], '.2f')} s, {_pair(pairs['mb'], '.0f')} MB; "
        f"{made[1]['lost']} of {made[1]['names']} names lost{'; left to tf2onnx' if made[1]['foreign'] else ''}"
    ])  # fmt: skip
    if any(pairs["error"]):
        words([f"  {route}: {error or 'made'}" for route, error in zip(ROUTES, pairs["error"], strict=True)])
        return [{"net": net.name, "broken": ["failed"] if pairs["error"][1] else []} | pairs]
    rows = []
    for scheme in schemes:
        row = _row(net.items(), [side["files"][scheme] for side in made], args)
        spread = f"[{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]" if all(row["interval"]) else ""
        right = f"  right {_pair(row['right'], '.0f')}" if None not in row["right"] else ""
        kept = f"  NOT KEPT: {', '.join(row['broken'])}" if row["broken"] else ""
        words([
            f"  {scheme:14}{_pair(row['db'], '5.1f')} dB{right}  Transposes {_pair(row['transposes'])}"
            f"  nodes {_pair(row['nodes'])}  kB {_pair([n / 1e3 for n in row['bytes']], '.0f')}"
            f"  us {_pair(row['us'], '.0f')}  ratio {row['ratio']:.3f} {spread}  {_rewrites(row['rewrites'])}{kept}"
        ])  # fmt: skip
        rows.append({"net": net.name, "scheme": scheme} | pairs | row)
    return rows


def _row(items: dict[str, Any], sides: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """What is measured of both files of a scheme."""
    calls, row = {}, dict[str, Any](db=[], right=[])
    for route, side in zip(ROUTES, sides, strict=True):
        session = _session(side["bytes"])
        scores = _answers(session, items["test"])
        row["db"].append(sqnr_db(scores, items["truth"]))
        row["right"].append(float((scores.argmax(1) == items["labels"]).sum()) if "labels" in items else None)
        calls[route] = partial(session.run, None, {session.get_inputs()[0].name: items["test"][:1]})
    times = timed(calls, **options_of(args))
    found = summarize("", times["tflite"], times["frozen"])
    row |= {"us": [found.theirs_us, found.ours_us], "ratio": found.ratio}
    row |= {"interval": [found.ratio_low, found.ratio_high], "rewrites": [side["rewrites"] for side in sides]}
    row |= {"transposes": [side["kinds"].get("Transpose", 0) for side in sides]}
    row |= {"nodes": [sum(side["kinds"].values()) for side in sides], "bytes": [len(side["bytes"]) for side in sides]}
    before, after = (min(db, BEYOND_DB) for db in row["db"])
    row["broken"] = ["less accurate"] if before - after > LOSS_DB else []
    if row["transposes"][1] > row["transposes"][0]:
        row["broken"].append("more Transposes")
    return row


def _pair(values: Sequence[float], style: str = "") -> str:
    return " -> ".join(format(value, style) for value in values)


def _rewrites(made: Sequence[dict[str, int]]) -> str:
    """The rewrites that one route got at other numbers of places than the other."""
    pairs = {name: [side.get(name, 0) for side in made] for name in {**made[0], **made[1]}}
    return ", ".join(f"{name} {_pair(pair)}" for name, pair in pairs.items() if pair[0] != pair[1])


def convert(net: Net, route: str, schemes: Sequence[str]) -> dict[str, Any]:
    """Every scheme by one route, in this process: bytes, kinds of nodes, and rewrites; or the error."""
    from collections import Counter

    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.guess import guess_contract
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.contract.kinds import probe_facts
    from edgepress.converters.rewrites.table import Stage, rewrites_for, rewritten_onnx
    from edgepress.converters.sources.open import open_source
    from edgepress.converters.to_onnx.from_tflite import float_onnx_of
    from edgepress.converters.to_onnx.interface import prepend_adapter
    from edgepress.converters.to_onnx.quantize import with_scheme

    hints = Hints() if net.trained else Hints(task="logits")
    source = open_source(net.model, hints)
    source.facts = probe_facts(source.facts, source.answer)
    guess = guess_contract(source.facts, hints)
    float_graph = source.tflite(guess.adapter)
    base, start = _peak_mb(), time.perf_counter()
    result: dict[str, Any] = {"error": "", "files": {}, "lost": 0, "names": 0, "foreign": False}
    try:
        if route == "frozen":
            model = source.onnx(guess.adapter)
        else:
            model = prepend_adapter(
                float_onnx_of(float_graph), InputAdapter(guess.contract.input, guess.contract.input.shape)
            )
    except Exception as e:
        result["error"] = f"{type(e).__name__}: {e}"
    result |= {"seconds": time.perf_counter() - start, "mb": _peak_mb() - base}
    if result["error"]:
        return result
    if route == "tflite":
        result |= _names(float_graph, model)
    items = net.items()["calibration"]
    for name in schemes:
        scheme = SCHEMES[name]
        first, recipe, last = (rewrites_for(scheme, "cpu", stage) for stage in get_args(Stage))
        graph, counted = rewritten_onnx(model, first)
        chosen = rewritten_onnx(graph, recipe)[1]
        graph = with_scheme(graph, scheme, lambda: [items], guess.contract.input.value_range, rewrites=chosen)
        graph, more = rewritten_onnx(graph, last)
        kinds = Counter(node.op_type for node in graph.graph.node)
        result["files"][name] = {
            "bytes": graph.SerializeToString(),
            "kinds": dict(kinds),
            "rewrites": counted | chosen | more,
        }
    return result


def _names(float_graph: bytes, model: Any) -> dict[str, Any]:
    """How many tensors that operations of the TFLite graph make are not in the ONNX graph; whether tf2onnx wrote it."""
    from edgepress.converters.to_tflite.graph import Graph

    graph = Graph(float_graph)
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
