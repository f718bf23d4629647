"""Three small classifiers as PyTorch exports them to ONNX: NCHW, a named free batch, logits.

MobileNetV2, ResNet-18 and ShuffleNetV2 with the blocks of torchvision, for 64x64 images. Weights are random; the
statistics of batch normalization are those of seeded images, because a random net without them answers nearly the same
for every image.

    >>> onnx.save(CLASSIFIERS["resnet18"](), "resnet18.onnx")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime.input_spec import InputSpec

SIZE, CLASSES, OPSET = 64, 10, 17
ITEMS = 16
SHIFT = 1.5
"""Of batch normalization: with 0, half of what a ReLU gets is lost, and random nets amplify rounding."""
"""Seeded images from which the statistics are computed."""


def images(spec: InputSpec, count: int) -> npt.NDArray[np.uint8]:
    """Seeded images of different brightness and color: pooling over an image would make others of them nearly alike."""
    gains = np.random.default_rng(0).uniform(0.1, 1, (count, 1, 1, spec.shape[-1]))
    return np.asarray(np.rint(seeded_items(spec, count) * gains), np.uint8)


class Net:
    """A graph under construction; each method adds an operation and returns the name of its output."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, npt.NDArray[np.generic]] = {}
        self.channels: dict[str, int] = {"input": 3}
        self._random = np.random.default_rng(seed)

    def add(self, kind: str, *inputs: str, channels: int = 0, **attributes: object) -> str:
        """Any operation with one output."""
        out = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], out, **attributes))
        self.channels[out] = channels or self.channels.get(inputs[0], 0)
        return out

    def constant(self, value: object, dtype: type = np.int64) -> str:
        """A new weight."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(value, dtype)
        return name

    def conv(self, x: str, channels: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        """Convolution without a bias, then batch normalization."""
        shape = (channels, self.channels[x] // group, kernel, kernel)
        limit = np.sqrt(6 / np.prod(shape[1:]))  # PyTorch's initialization is uniform, too
        weights = self._random.uniform(-limit, limit, shape)
        options = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": group}
        x = self.add("Conv", x, self.constant(weights, np.float32), channels=channels, **options)
        scale, shift, mean, variance = (np.full(channels, value) for value in (1, SHIFT, 0, 1))
        statistics = (self.constant(values, np.float32) for values in (scale, shift, mean, variance))
        return self.add("BatchNormalization", x, *statistics)

    def relu6(self, x: str) -> str:
        """What PyTorch exports ReLU6 as."""
        return self.add("Clip", x, self.constant(0, np.float32), self.constant(6, np.float32))

    def head(self, x: str) -> onnx.ModelProto:
        """Average pooling and a dense layer, whose bias makes the mean logits 0; then the model is complete."""
        features, bias = self.channels[x], self.constant(np.zeros(CLASSES), np.float32)
        x = self.add("Flatten", self.add("GlobalAveragePool", x), axis=1)
        weights = self._random.normal(0, np.sqrt(8 / features), (CLASSES, features))
        self.add("Gemm", x, self.constant(weights, np.float32), bias, transB=1)
        self.nodes[-1].output[0] = "logits"
        for node in [n for n in self.nodes if n.op_type == "BatchNormalization"]:
            found = self._answers(node.input[0], ["c", "h", "w"])
            # Channels that are the same everywhere stay near their shift instead of being blown up.
            self.weights[node.input[3]] = found.mean((0, 2, 3))
            self.weights[node.input[4]] = found.var((0, 2, 3)) + 1e-3
        self.weights[bias] = -self._answers("logits", [CLASSES]).mean(0)
        return self._model("logits", [CLASSES])

    def _answers(self, output: str, shape: Sequence[int | str]) -> npt.NDArray[np.float32]:
        pixels = images(InputSpec.image(SIZE, SIZE, "rgb"), ITEMS).astype(np.float32).transpose(0, 3, 1, 2)
        session = onnxruntime.InferenceSession(self._model(output, shape).SerializeToString())
        (found,) = session.run(None, {"input": pixels / 255})
        return np.asarray(found)

    def _model(self, output: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch_size", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch_size", *shape])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def mobilenet_v2(width: float = 0.25) -> onnx.ModelProto:
    """Inverted residuals (Sandler et al. 2018) of a quarter of the width."""
    net = Net(1)

    def channels(count: int) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    x = net.relu6(net.conv("input", channels(32), 3, 2))
    for expand, count, repeats, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for stride in (first, *[1] * (repeats - 1)):
            before, inner = x, net.channels[x] * expand
            if expand != 1:
                x = net.relu6(net.conv(x, inner, 1))
            x = net.conv(net.relu6(net.conv(x, inner, 3, stride, inner)), channels(count), 1)
            if stride == 1 and net.channels[before] == net.channels[x]:
                x = net.add("Add", before, x)
    return net.head(net.relu6(net.conv(x, 320, 1)))


def resnet18(width: int = 16) -> onnx.ModelProto:
    """Basic blocks (He et al. 2016) with a quarter of the channels."""
    net = Net(2)
    x = net.add("Relu", net.conv("input", width, 7, 2))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage in range(4):
        for stride in (1 if stage == 0 else 2, 1):
            count = width << stage
            y = net.conv(net.add("Relu", net.conv(x, count, 3, stride)), count, 3)
            x = net.add("Relu", net.add("Add", y, net.conv(x, count, 1, stride) if stride == 2 else x))
    return net.head(x)


def shufflenet_v2() -> onnx.ModelProto:
    """Units with channel split and shuffle (Ma et al. 2018), 0.5x."""
    net = Net(3)
    x = net.add("Relu", net.conv("input", 24, 3, 2))
    x, size = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), SIZE // 4
    for count, repeats in ((48, 4), (96, 8), (192, 4)):
        half, size = count // 2, size // 2
        left = net.add("Relu", net.conv(net.conv(x, net.channels[x], 3, 2, net.channels[x]), half, 1))
        x = _shuffled(net, left, _branch(net, x, half, 2), size)
        for _ in range(repeats - 1):
            left = net.add("Split", x, net.constant([half, half]), channels=half, axis=1)
            right = f"{left}_right"
            net.nodes[-1].output.append(right)
            net.channels[right] = half
            x = _shuffled(net, left, _branch(net, right, half, 1), size)
    return net.head(net.add("Relu", net.conv(x, 256, 1)))


def _branch(net: Net, x: str, count: int, stride: int) -> str:
    x = net.add("Relu", net.conv(x, count, 1))
    return net.add("Relu", net.conv(net.conv(x, count, 3, stride, count), count, 1))


def _shuffled(net: Net, left: str, right: str, size: int) -> str:
    """Two branches, their channels interleaved; the batch is read from the tensor, as PyTorch exports `x.view`."""
    half = net.channels[left]
    x = net.add("Concat", left, right, channels=2 * half, axis=1)
    batch = net.add("Unsqueeze", net.add("Gather", net.add("Shape", x), net.constant(0), axis=0), net.constant([0]))
    apart = net.add("Concat", batch, net.constant([2, half, size, size]), axis=0)
    x = net.add("Transpose", net.add("Reshape", x, apart), perm=[0, 2, 1, 3, 4])
    together = net.add("Concat", batch, net.constant([2 * half, size, size]), axis=0)
    return net.add("Reshape", x, together, channels=2 * half)


CLASSIFIERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet18": resnet18,
    "shufflenet_v2": shufflenet_v2,
}
