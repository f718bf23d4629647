"""Runs what `edgepress export --to wasm` writes, in Node.js and in chromium."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NODE = shutil.which("node")
_DRIVER = """
import { readFileSync } from "node:fs";
const { module, calls } = JSON.parse(readFileSync(0));
const found = await import(module);
const model = await found.load();
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const arrays = { int8: Int8Array, uint8: Uint8Array };
const answers = calls.map(([verb, item]) => {
  try {
    if (verb === "run") {
      const stored = new arrays[found.about.input.stored](bytes(item).buffer);
      return Buffer.from(model.run(stored).buffer).toString("base64");
    }
    if (verb === "names") return Object.keys(found).sort();
    if (item?.data) item = { ...item, data: bytes(item.data) };
    return model[verb](item);
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(answers));
"""


def node_answers(folder: Path, calls: list[tuple[str, Any]], name: str = "model") -> list[Any]:
    """What methods of the module in a folder return, each called with an item; an error as its message."""
    assert NODE is not None
    request = json.dumps({"module": (folder / f"{name}.mjs").resolve().as_uri(), "calls": calls})
    command = [NODE, "--input-type=module", "-e", _DRIVER]
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def run_stored(folder: Path, items: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """Answers to items, both as the file stores them, shape (N, outputs)."""
    calls = [("run", base64.b64encode(item.tobytes()).decode()) for item in items]
    return np.stack([np.frombuffer(base64.b64decode(text), dtype) for text in node_answers(folder, calls)])


def as_picture(pixels: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Pixels, shape (height, width, 3 or 4), as ImageData."""
    height, width, depth = pixels.shape
    rgba = np.full((height, width, 4), 255, np.uint8)
    rgba[..., :depth] = pixels
    return {"data": base64.b64encode(rgba.tobytes()).decode(), "width": width, "height": height}


def litert_answers(path: Path, items: npt.NDArray[Any], kernels: str = "BUILTIN_REF") -> npt.NDArray[Any]:
    """LiteRT's answers to items, both as the file stores them; `AUTO` are the kernels of XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType[kernels])
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for item in items:
        interpreter.set_tensor(source["index"], item.reshape(source["shape"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(result["index"]).ravel())
    return np.stack(answers)
