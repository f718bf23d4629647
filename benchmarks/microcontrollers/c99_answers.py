"""What TFLM answers for the graphs of tests/support/c99_graphs.py: prints tests/support/c99/answers.json.

For graphs with an operation that TFLM computes in float alone, the answers are those of LiteRT's reference kernels.
The wheel needs an environment of its own; its Python is named by EDGEPRESS_TFLM_PYTHON:

    python -m venv tflm && tflm/bin/pip install --pre tflite-micro==0.dev20261023182759
    export EDGEPRESS_TFLM_PYTHON=tflm/bin/python
    python benchmarks/microcontrollers/c99_answers.py > tests/support/c99/answers.json
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

from c99_graphs import GRAPHS, graph, items  # noqa: E402
from running_wasm import litert_answers  # noqa: E402

from edgepress.converters.to_c.lookup import WITHOUT_TFLM  # noqa: E402
from edgepress.converters.to_c.lowering import lower  # noqa: E402
from edgepress.converters.to_c.read import read  # noqa: E402

WHEEL = "tflite-micro 0.dev20261023182759"
RUN = """
import sys, numpy as np
from tflite_micro.python.tflite_micro import runtime
for model, items, answers in zip(*[iter(sys.argv[1:])] * 3):
    interpreter = runtime.Interpreter.from_file(model, arena_size=16_000_000)
    shape, rows = interpreter.get_input_details(0)["shape"], []
    for item in np.load(items):
        interpreter.set_input(item.reshape(shape), 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).reshape(-1).copy())
    np.save(answers, np.stack(rows))
"""


def standard_answers(model: Path, items: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The outputs that the C has to make, one row an item: the wheel's, from a process of its own, or LiteRT's."""
    return many_standard_answers([(model, items)])[0]


def many_standard_answers(pairs: Sequence[tuple[Path, npt.NDArray[Any]]]) -> list[npt.NDArray[Any]]:
    """The same of several models, those by the wheel from one process."""
    by_tflm = [not {each.kind for each in read(model).operations} & {*WITHOUT_TFLM} for model, _ in pairs]
    given = [pair for pair, is_by_tflm in zip(pairs, by_tflm, strict=True) if is_by_tflm]
    of_tflm = iter(many_tflm_answers(given) if given else [])
    return [
        next(of_tflm) if is_by_tflm else litert_answers(*pair) for pair, is_by_tflm in zip(pairs, by_tflm, strict=True)
    ]


def many_tflm_answers(pairs: Sequence[tuple[Path, npt.NDArray[Any]]]) -> list[npt.NDArray[Any]]:
    """The same of several models, from one process."""
    with tempfile.TemporaryDirectory() as folder:
        arguments: list[str] = []
        for number, (model, items) in enumerate(pairs):
            given = Path(folder, f"items-{number}.npy")
            np.save(given, items)
            arguments += [str(model), str(given), str(Path(folder, f"answers-{number}.npy"))]
        python = os.environ["EDGEPRESS_TFLM_PYTHON"]
        subprocess.run([python, "-c", RUN, *arguments], check=True, capture_output=True)
        return [np.load(path) for path in arguments[2::3]]


def main() -> None:
    """Print a digest for each graph."""
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in GRAPHS:
            path = Path(folder, f"{name}.tflite")
            path.write_bytes(graph(name))
            source = lower(path).input
            answers = standard_answers(path, items(name, source.size, source.dtype))
            digests[name] = hashlib.sha256(answers.tobytes()).hexdigest()
    print(json.dumps({"made by": WHEEL, "sha256": digests}, indent=1))


if __name__ == "__main__":
    main()
