"""The C of other generators for an integer-only TFLite file, with the functions of our `model.h` around it.

Their packages lie in an environment of their own, whose Python EDGEPRESS_RIVALS_PYTHON names (c99_rivals.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_tflite import flatbuffer as flat


class RefusedError(Exception):
    """A generator does not take a file; its message is the generator's own."""


class Rival(NamedTuple):
    """A generator.

    Attributes:
        name: Its name on PyPI, with the options that matter.
        file: What makes the file that it gets of ours, in a folder; ours is measured on the same one.
        write: Writes `model.c` and `model.h` of a file into a folder, and returns more arguments for the compiler.
    """

    name: str
    file: Callable[[Path, Path], Path]
    write: Callable[[Path, Path], list[str]]


HEADER = """\
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_INPUT_BYTES {inputs}
#define MODEL_OUTPUT_BYTES {outputs}
#define MODEL_ARENA_BYTES 0 /* c99_rivals.py measures what the linker reserves */
int8_t *model_input(void);
const int8_t *model_output(void);
void model_run(void);
#endif
"""
SOURCE = """\
#include "model.h"
{includes}
static int8_t input[MODEL_INPUT_BYTES], output[MODEL_OUTPUT_BYTES];
{memory}
int8_t *model_input(void) {{ return input; }}
const int8_t *model_output(void) {{ return output; }}
void model_run(void)
{{
{run}
}}
"""
EMLEARN_RUN = """\
    for (int i = 0; i < MODEL_INPUT_BYTES; i++) numbers[i] = {input_scale}f * (float)(input[i] - ({input_zero}));
    rival_regress(numbers, MODEL_INPUT_BYTES, results, MODEL_OUTPUT_BYTES);
    for (int i = 0; i < MODEL_OUTPUT_BYTES; i++) {{
        const long v = lroundf(results[i] / {output_scale}f) + ({output_zero});
        output[i] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
    }}"""
BAKENN = """
import sys, bakenn
from pathlib import Path
file, folder, cmsis = sys.argv[1:]
policy, target = bakenn.KernelPolicy.STATIC_PRIORITY, bakenn.CORTEX_M4
options = bakenn.CBackendOptions(kernel_policy=policy, enable_cmsis_nn=cmsis == "1", target=target)
bakenn.compile_tflite(Path(file), folder, name="rival", backend_options=options)
"""
EMLEARN = """
import sys, json, emlearn, numpy as np
from emlearn import net
from types import SimpleNamespace
layers = []
for number, kind in enumerate(json.loads(sys.argv[2])):
    given = np.load(sys.argv[1])
    layer = type(kind, (), {})()
    if kind == "Dense":
        activation = type("Activation", (), {"__name__": str(given[f"activation{number}"])})()
        weights = [given[f"weights{number}"], given[f"bias{number}"]]
        layer.use_bias, layer.activation, layer.get_weights = True, activation, lambda weights=weights: weights
    layers.append(layer)
net.convert_keras(SimpleNamespace(layers=layers), "loadable").save(name="rival", file=sys.argv[3])
print(emlearn.includedir)
"""
KERAS = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "FULLY_CONNECTED": "Dense", "SOFTMAX": "Softmax"}
"""Names of Keras's layers, by which emlearn accepts or refuses them."""


def as_it_is(file: Path, folder: Path) -> Path:
    """The file itself."""
    del folder
    return file


def repaired(file: Path, folder: Path) -> Path:
    """A copy without what BakeNN refuses: free batch sizes, RESHAPE without options, and a SOFTMAX at the end."""
    from ai_edge_litert import schema_py_generated as fb

    root, graph = flat.read(file.read_bytes())
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    for operation in graph.operators:
        if flat.kind(root, operation) == "RESHAPE":
            operation.builtinOptionsType = fb.BuiltinOptions.ReshapeOptions
            operation.builtinOptions = fb.ReshapeOptionsT()
            operation.builtinOptions.newShape = list(map(int, graph.tensors[operation.outputs[0]].shape))
    if flat.kind(root, graph.operators[-1]) == "SOFTMAX":
        flat.redirect(root, graph, int(graph.operators.pop().inputs[0]), inputs=False)
    copy = folder / file.name
    copy.write_bytes(flat.write(root))
    return copy


def bakenn(*, cmsis: bool) -> Callable[[Path, Path], list[str]]:
    """BakeNN, with its own kernels or with those of CMSIS-NN that it copies."""

    def write(file: Path, folder: Path) -> list[str]:
        _run_rival(["-c", BAKENN, str(file), str(folder / "c"), str(int(cmsis))], folder)
        memory = "_Alignas(16) static uint8_t arena[RIVAL_ARENA];"
        size = (
            "#if BKNN_RIVAL_ARENA_SIZE\n#define RIVAL_ARENA BKNN_RIVAL_ARENA_SIZE\n#else\n#define RIVAL_ARENA 1\n#endif"
        )
        _write(file, folder, f'#include "bknn_rival.h"\n{size}', memory, "    bknn_rival_infer(arena, input, output);")
        sources = sorted((folder / "c").rglob("*.c"))
        headers = sorted({path.parent for path in (folder / "c").rglob("*.h")})
        return ["-std=gnu11", *map(str, sources), *(f"-I{path}" for path in headers)]

    return write


def emx_onnx_cgen(file: Path, folder: Path) -> list[str]:
    """emx-onnx-cgen, of the file as ONNX with QuantizeLinear and DequantizeLinear, which tf2onnx makes."""
    onnx, source = folder / "rival.onnx", folder / "rival.c"
    _run(
        [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(file), "--output", str(onnx), "--opset", "13"], folder
    )
    whole = ["--large-temp-threshold", "0", "--large-weight-threshold", "0"]  # no heap, no file of weights
    tool = str(Path(_python()).with_name("emx-onnx-cgen"))
    _run([tool, "compile", *whole, "--model-name", "rival", str(onnx), str(source)], folder)
    declared = re.search(r"^void rival\(([^)]*)\)", source.read_text(), flags=re.MULTILINE)
    assert declared
    ones = "1, " * len(re.findall(r"\bint \w+,", declared[1]))  # sizes that the file leaves free
    _write(file, folder, '#include "rival.c"', "", f"    rival({ones}(const void *)input, (void *)output);")
    return ["-std=gnu99", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]


def emlearn(file: Path, folder: Path) -> list[str]:
    """emlearn, of the weights in float; the adapter turns integers into floats and back."""
    program = lower(file)
    arrays: dict[str, Any] = {}
    for number, operation in enumerate(program.graph.operations):
        if operation.kind == "FULLY_CONNECTED":
            arrays |= _dense_arrays(number, operation)
    np.savez(folder / "layers.npz", **arrays)
    kinds = json.dumps([KERAS.get(each.kind, each.kind) for each in program.graph.operations])
    header = str(folder / "rival.h")
    include = _run_rival(["-c", EMLEARN, str(folder / "layers.npz"), kinds, header], folder).split()[-1]
    source, result = program.input, program.output
    ends = {"input_scale": source.scale, "input_zero": source.zero_point}
    ends |= {"output_scale": result.scale, "output_zero": result.zero_point}
    memory = "static float numbers[MODEL_INPUT_BYTES], results[MODEL_OUTPUT_BYTES];"
    _write(file, folder, '#include <math.h>\n#include "rival.h"', memory, EMLEARN_RUN.format(**ends))
    return ["-std=gnu99", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", f"-I{include}"]


def _dense_arrays(number: int, operation: Operation) -> dict[str, Any]:
    source, weights, bias = operation.activation(), operation.constant(1, "int8"), operation.constant(2, "int32")
    assert weights.data is not None
    assert bias.data is not None
    scales = weights.scales.astype(np.float64)
    return {
        f"weights{number}": (weights.data * scales[:, None]).T,
        f"bias{number}": bias.data * scales * source.scale,
        f"activation{number}": "relu" if operation.option("activation") == 1 else "linear",
    }


def _write(file: Path, folder: Path, includes: str, memory: str, run: str) -> None:
    program: Program = lower(file)
    (folder / "model.h").write_text(HEADER.format(inputs=program.input.size, outputs=program.output.size))
    (folder / "model.c").write_text(SOURCE.format(includes=includes, memory=memory, run=run))


def _python() -> str:
    return str(Path(os.environ["EDGEPRESS_RIVALS_PYTHON"]).absolute())


def _run_rival(arguments: list[str], folder: Path) -> str:
    return _run([_python(), *arguments], folder)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)  # emlearn writes into its folder
    if done.returncode:
        raise RefusedError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return done.stdout


RIVALS = (
    Rival("bakenn", as_it_is, bakenn(cmsis=False)),
    Rival("bakenn, repaired copy", repaired, bakenn(cmsis=False)),
    Rival("bakenn with CMSIS-NN, repaired copy", repaired, bakenn(cmsis=True)),
    Rival("emx-onnx-cgen", as_it_is, emx_onnx_cgen),
    Rival("emlearn", as_it_is, emlearn),
)
"""What is measured."""
