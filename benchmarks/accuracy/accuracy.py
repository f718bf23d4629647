"""Is accuracy kept? What quantization costs our files, and the bare tools' of the same nets, on real test items.

    python benchmarks/accuracy/accuracy.py --out CACHE [--only natural,hurt] [--models lenet,vgg] [--seeds 3]
        [--cifar FOLDER]

Rows, all unless some are named:

natural     our nine architectures trained on MNIST and on the sign digits, and files of others: the int8 drop
hurt        nets that int8 with ranges of smallest and largest values hurts: what repairs regain, and their seconds
hard        the same functions with channels of scales 2^-6 to 2^6 apart: int8 and dynamic, both formats
harmless    six schemes with repairs and without: no repair loses accuracy beyond the interval
int4        weights of 4 bits: accuracy, size, latency, minutes
tune        what `tune` regains of what 4 and 8 bits still lose
simulation  the simulated program beside the real files, and the float program beside LiteRT
zoo         models of keras.applications whose int8 files are too noisy, without repairs and with
damage      whether `diagnose` names first the layer that was damaged on purpose, of 20

Bare tools: TFLiteConverter int8, litert-quantizer static_wi8_ai8, ONNX Runtime's quantize_static with its defaults and
with percentiles. Accuracies are in percent; brackets hold the drop from the float file in percentage points with its
95 % interval, paired over the test items. Nets and bare tools' files are made once and kept in the cache; our files are
made anew whenever the code of the converters changes. A drop of up to one test item counts as kept. Exits with 1 if
something was not kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from accuracy_data import CIFAR_SOURCE, REAL
from accuracy_lines import Line
from accuracy_nets import Place

from edgepress.toolkit.machine.host import describe_host

ROWS = {
    **dict.fromkeys(("natural", "hurt", "hard", "harmless"), "accuracy_int8"),
    **dict.fromkeys(("int4", "tune"), "accuracy_int4"),
    **dict.fromkeys(("simulation", "zoo"), "accuracy_graph"),
    "damage": "accuracy_damage",
}
"""The module that holds the function of each row."""


def main() -> None:
    """Print the rows asked for; exit with 1 if something was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--only", default=",".join(ROWS), help="rows")
    parser.add_argument("--models", default="", help="words that the names of the wanted nets hold")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each hard net")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real data")
    parser.add_argument("--cifar", type=Path, help=f"CIFAR-10: {CIFAR_SOURCE}, or an .npz of them")
    args = parser.parse_args()
    place = Place(args.out, args.real, args.real.parent / "models", args.cifar)
    wanted, counts = [w for w in args.models.split(",") if w], {}
    for row in args.only.split(","):
        if row not in ROWS:
            parser.error(f"{row!r} is no row; rows: {', '.join(ROWS)}")
        print(f"\n{row}", flush=True)
        run: Callable[[Place, list[str], int], Iterator[Line]] = getattr(import_module(ROWS[row]), row)
        judged = 0
        reasons: list[str] = []
        for line in run(place, wanted, args.seeds):
            print(line, flush=True)
            judged += line.judged
            reasons += [f"{' '.join(line.text.split()[:2])}: {line.broken}"] if line.broken else []
        counts[row] = {"judged": judged, "not_kept": len(reasons), "reasons": reasons}
    print(json.dumps({"host": describe_host(), "rows": counts}))
    sys.exit(any(found["not_kept"] for found in counts.values()))


if __name__ == "__main__":
    main()
