"""Which measure of importance finds the channels that a net needs least: accuracy of what each leaves, trained briefly.

    python benchmarks/compression/pruning_importance.py float.tflite=data.npz ... --share 0.5 --steps 200

One row for each net, measure and block (layers are cut to multiples of 8 channels, or to any number): accuracy on
validation items without training, with channels that leave taken for 0 and for their mean, and after some steps of
distillation with 32 items each. "random" ranks channels by chance.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.graph.distill import Distillation, Teaching, Trainee, logits_of
from edgepress.converters.graph.program import Program
from edgepress.converters.pruning.importance import MEASURES, channel_moments, importance_of
from edgepress.converters.pruning.plan import PruningCosts, chosen_units, normalize
from edgepress.converters.pruning.remove import without_channels
from edgepress.converters.pruning.units import removable_units
from edgepress.converters.ptq.score import macs

MEASURED, BATCH, RATE = 256, 32, 1e-2


def trained(teacher: Program, model: bytes, x: Any, y: Any, steps: int) -> Program:
    """The graph after so many steps of distillation."""
    program = Program(model)
    spread = float(np.std(logits_of(teacher, teacher.run(x[:64]))))
    trainee = Trainee(program, channel_moments(program, x[:MEASURED]))
    work, random = Distillation(teacher, trainee, Teaching("softmax"), spread), np.random.default_rng(0)
    for step in range(steps):
        rows = random.integers(0, len(x), BATCH)
        work.step(x[rows], y[rows], RATE * (1 + math.cos(math.pi * step / steps)) / 2)
    return Program(trainee.model())


def rows(model: bytes, data: Path, share: float, steps: int) -> None:
    """Print the rows of one net."""
    splits, program = np.load(data), Program(model)
    x, y, test, labels = (splits[name] for name in ("x_train", "y_train", "x_val", "y_val"))
    x, test = x.astype(program.dtype), test.astype(program.dtype)
    units, some = removable_units(program), x[:MEASURED]
    moments, costs = channel_moments(program, some), PruningCosts(model, units)
    means = {name: mean for name, (mean, _) in moments.items()}

    def accuracy(found: Program) -> float:
        return float((found.answers(test).argmax(axis=1) == labels).mean())

    print(f"original: accuracy {accuracy(program):.4f}, {macs(model):,} MACs", flush=True)
    for measure in (*MEASURES, "random"):
        importance = (
            np.random.default_rng(0).uniform(size=units.count)
            if measure == "random"
            else importance_of(measure, units, moments, items=some)  # type: ignore[arg-type]
        )
        for block in (8, 1):
            keep = chosen_units(units, normalize(importance), costs, share * macs(model), block=block)
            if keep is None:
                print(f"{measure:9} block {block}: out of reach in one step", flush=True)
                continue
            zeros, smaller = (without_channels(model, units, keep, found) for found in (None, means))
            after = accuracy(trained(program, smaller, x, y, steps))
            print(
                f"{measure:9} block {block}: {macs(smaller) / macs(model):.3f} of the MACs, accuracy with zeros "
                f"{accuracy(Program(zeros)):.4f}, with means {accuracy(Program(smaller)):.4f}, trained {after:.4f}",
                flush=True,
            )


def main() -> None:
    """Print the rows of all nets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", help="float .tflite=.npz with train and val splits")
    parser.add_argument("--share", type=float, default=0.5, help="multiply-accumulates that are left")
    parser.add_argument("--steps", type=int, default=200, help="steps of training")
    args = parser.parse_args()
    for net in args.nets:
        model, _, data = net.partition("=")
        print(f"\n{net}")
        rows(Path(model).read_bytes(), Path(data), args.share, args.steps)


if __name__ == "__main__":
    main()
