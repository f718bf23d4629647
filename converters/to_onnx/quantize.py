"""Derive every ONNX scheme from a float model by ONNX Runtime's tools.

The output stays float32 in every scheme. Static quantization is QDQ (QuantizeLinear/DequantizeLinear pairs), 8 bits,
unsigned activations and signed per-channel weights; its statistics come from `calibration`, as TFLite's do.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import EXACT
from edgepress.converters.calibration import Batches, Calibration, InputRange, onnx_statistics, ranges_by_name
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayers
from edgepress.converters.numeric.statistics import CalibrationMethods, Ranges
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_onnx.convert import finish, quiet
from edgepress.converters.to_onnx.float_layers import float_chains, float_nodes, normalization, store_in_bytes
from edgepress.converters.to_onnx.graph import STANDARD, VIEWS, OnnxGraph, attribute
from edgepress.converters.to_onnx.grids import (
    biases_of,
    fit_biases,
    four_bit_weights,
    pack,
    put_marks_on_grids,
    with_coarse_weights,
)

if TYPE_CHECKING:
    import onnx
MOST_COPIES = 1 / 16
"""Values of copied weights at most, as a share of all weights."""


def with_scheme(
    float_model: onnx.ModelProto,
    scheme: Scheme,
    batches: Batches,
    input_range: InputRange,
    *,
    rewrites: Collection[str] = (),
    methods: CalibrationMethods | None = None,
    float_layers: FloatLayers = NOTHING,
    learned: Ranges | None = None,
) -> onnx.ModelProto:
    """Derive a model of the scheme table from a float one.

    Args:
        float_model: What `float_onnx` returned.
        scheme: An ONNX scheme.
        batches: Calibration items; read for calibrated schemes only.
        input_range: Range of the input, if it is known beforehand.
        rewrites: Names of the rewrites that the recipe makes.
        methods: The method of each tensor's range; None keeps all values.
        float_layers: What stays float in a file of mixed precision.
        learned: Ranges of tensors that were learned, by name, instead of measured ones.
    """
    recipe = RECIPES[scheme.precision]
    if float_layers.layers:
        recipe = partial(recipe, float_layers=float_layers)
    calibration = Calibration(batches, input_range, methods, learned or {})
    try:
        result = recipe(float_model, calibration, rewrites)
        return result if result is float_model else finish(result)
    except ConversionError:
        raise
    except Exception as e:  # onnx, protobuf and ONNX Runtime share no base class
        raise ConversionError(f"ONNX Runtime's quantizer refused the model: {e}", "Try another scheme.") from e


def _float16(model: onnx.ModelProto, calibration: Calibration, rewrites: Collection[str]) -> onnx.ModelProto:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    floats = [v.name for v in model.graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    ends = [model.graph.output[0].name, *floats]
    float_model = _with_node_names(copy.deepcopy(model))
    opset = OnnxGraph(model).opset
    wide = [node.name for node in float_model.graph.node if _lacks_float16(node, opset) or _moves_batch(node)]
    blocked = [*_exact_nodes(model), *wide]
    result: onnx.ModelProto = convert_float_to_float16(float_model, keep_io_types=ends, node_block_list=blocked)
    return result


def _lacks_float16(node: onnx.NodeProto, opset: int) -> bool:
    """Whether the standard has an operation for float32, but not for float16, such as Celu."""
    import onnx

    if node.domain not in STANDARD or not onnx.defs.has(node.op_type, opset, ""):
        return False
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    first = schema.inputs[0].type_str if schema.inputs else ""
    allowed = next((c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == first), ())
    return "tensor(float)" in allowed and "tensor(float16)" not in allowed


def _moves_batch(node: onnx.NodeProto) -> bool:
    """Whether a node is a Transpose of the first axis: ONNX Runtime 1.32 crashes where it joins one with a product.

    It does with one of float16 behind an operation that has a kernel of float16, such as LayerNormalization, also if
    a factor, a Concat or a Dropout lies in between, and MatMul has none, as on x86-64; then it computes in float32.
    """
    return node.op_type == "Transpose" and next(iter(attribute(node, "perm", ())), None) != 0


def _dynamic(model: onnx.ModelProto, calibration: Calibration, rewrites: Collection[str]) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    in_float = "onnx-convolution-weights" in rewrites
    kinds = sorted(IntegerOpsRegistry.keys() - ({"Conv"} if in_float else set()))
    with quiet("root"), ScratchFolder() as folder:
        source = _with_node_names(onnx.load(_prepare_file(model, folder)))
        target = Path(folder) / "dynamic.onnx"
        quantize_dynamic(
            source,
            target,
            # ConvInteger with int8 weights has no kernel on a CPU (microsoft/onnxruntime#15888).
            weight_type=QuantType.QUInt8,
            op_types_to_quantize=kinds,
            nodes_to_exclude=_chain_nodes(OnnxGraph(source), rewrites),
        )
        result = onnx.load(target)
    return store_in_bytes(result) if in_float else result


def _static(
    model: onnx.ModelProto,
    calibration: Calibration,
    rewrites: Collection[str],
    *,
    weight_bits: int = 8,
    float_layers: FloatLayers = NOTHING,
) -> onnx.ModelProto:
    # quantize_static of onnxruntime 1.32.0 takes no ranges (onnxruntime#21908; docs/architecture.md).
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    ready = _with_node_names(_with_own_weights(_with_flat_biases(prepare_model(model))))
    statistics = onnx_statistics(ready, calibration.batches, calibration.input_range)
    statistics.learn(calibration.learned)
    ranges = statistics.ranges(calibration.methods)
    if calibration.input_range and "uint8-activations" in rewrites:
        ranges |= ranges_of_pixels(ready, calibration.input_range)
    few = four_bit_weights(ready) if weight_bits == 4 else {}
    coarse = with_coarse_weights(copy.deepcopy(ready), few) if few else ready
    biases = biases_of(ready)
    graph = OnnxGraph(ready)
    in_float = _chain_nodes(graph, rewrites)
    if "onnx-float-normalization" in rewrites:
        in_float += [node.name for node in normalization(graph)]
    limits = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}
    with quiet("root"):
        quantizer = QDQQuantizer(
            copy.deepcopy(coarse) if few else coarse,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if "uint8-activations" in rewrites else QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
            nodes_to_quantize=[],
            nodes_to_exclude=[*_exact_nodes(ready), *in_float, *float_nodes(ready, float_layers.layers)],
            # Softmax stays float: otherwise, eight bits are all that remains of a probability. So does what has no
            # kernel of 8 bits: only its factors would be rounded.
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry} - {"Softmax", "LayerNormalization"}),
            extra_options={},
        )
        quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    if few:
        result = pack(result, coarse, few)
    fit_biases(result, biases)
    put_marks_on_grids(result, ranges)
    if few:
        return result
    return store_in_bytes(result, float_nodes(ready, float_layers.in_bytes)) if float_layers.in_bytes else result


RECIPES: dict[str, Callable[..., onnx.ModelProto]] = {
    "float32": lambda model, calibration, rewrites: model,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _static,
    "int4": partial(_static, weight_bits=4),
    "mixed": _static,
}
"""From a float model, its calibration and the rewrites to make to a quantized one, by `Scheme.precision`."""


def _chain_nodes(graph: OnnxGraph, rewrites: Collection[str]) -> list[str]:
    """Names of the nodes that stretch the range of values and narrow it again."""
    return [node.name for node in float_chains(graph)] if "onnx-float-chains" in rewrites else []


def _exact_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay float."""
    return [node.name for node in model.graph.node if EXACT.match(node.name)]


def prepare_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it is quantized: with shapes inferred and constants folded."""
    import onnx

    with quiet("root"), ScratchFolder() as folder:
        return onnx.load(_prepare_file(model, folder))


def _prepare_file(model: onnx.ModelProto, folder: str) -> Path:
    """Infer shapes and fold constants, as ONNX Runtime's quantizer requires."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = Path(folder) / "float.onnx"
    target = Path(folder) / "prepared.onnx"
    source.write_bytes(model.SerializeToString())  # of a model in memory, the weights would go to another file
    quant_pre_process(source, target, skip_symbolic_shape=True)
    return target


def _with_flat_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Biases of shape (1, N), which exporters before opset 7 wrote, as (N,): the quantizer accepts no others."""
    biases = {node.input[2] for node in model.graph.node if node.op_type in ("Gemm", "Conv") and len(node.input) > 2}
    for tensor in model.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    return model


def _with_own_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of weights for each operation after the first one that reads them, unless the copies are large.

    On x86 without VNNI, ONNX Runtime 1.32 does not open a file of shared weights so that its products do not saturate
    (`runtime.sessions.onnx_session`): it makes signed weights unsigned for each operation anew, under the same name.
    Then the runtime computes the file in float, which is slower, but no reason to make the file much larger.
    """
    graph = OnnxGraph(model)
    seen: set[str] = set()
    shared: list[tuple[onnx.NodeProto, int, npt.NDArray[Any]]] = []
    for node in graph.nodes("Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization"):
        for place, name in enumerate(node.input[:2]):
            values = graph.constant(name)
            if values is not None and name in seen:
                shared.append((node, place, values))
            elif values is not None:
                seen.add(name)
    size = sum(values.size for name in seen if (values := graph.constant(name)) is not None)
    if sum(values.size for _, _, values in shared) <= MOST_COPIES * size:
        for node, place, values in shared:
            graph.feed(node, place, graph.add_constant(values))
    return model


def _with_node_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Names for nodes that have none: the quantizer leaves out nodes by their names, with one "" all that have none."""
    names = {node.name for node in model.graph.node}
    numbers = itertools.count()
    for node in model.graph.node:
        if not node.name:
            node.name = next(name for number in numbers if (name := f"{node.op_type}_{number}") not in names)
    return model


def ranges_of_pixels(model: onnx.ModelProto, known: InputRange) -> dict[str, tuple[float, float]]:
    """Ranges of the pixels as float, and scaled and shifted by numbers, whatever pixels were seen."""
    graph = OnnxGraph(model)
    known_ranges = ranges_by_name([value.name for value in graph.proto.input], known)
    ranges = {}
    for cast in graph.nodes("Cast"):
        start = cast.input[0]
        while (maker := graph.maker(start)) is not None and maker.op_type in VIEWS:
            start = maker.input[0]
        if start in known_ranges:
            ranges[cast.output[0]] = (low, high) = known_ranges[start]
            node = graph.only_reader(cast.output[0])
            while node is not None and node.op_type in ("Add", "Mul", *VIEWS):
                if node.op_type in VIEWS:
                    ranges[node.output[0]] = (low, high)
                    node = graph.only_reader(node.output[0])
                    continue
                if (parts := graph.operand(node)) is None:
                    break
                constant = float(parts[1].ravel()[0]) if parts[1].size == 1 else 0.0
                if constant == 0 or (node.op_type == "Mul" and constant < 0):
                    break
                low, high = (f + constant if node.op_type == "Add" else f * constant for f in (low, high))
                ranges[node.output[0]] = (low, high)
                node = graph.only_reader(node.output[0])
    return ranges
