"""SavedModels made and changed by hand, for tests of what they may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def save(folder: Path, body: Callable[[Any], Any] = lambda x: x, parts: Callable[[Any], None] | None = None) -> Path:
    """A SavedModel of a softmax of 4 numbers, after `body`; `parts` gives the module more of them."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.eye(4, 3, dtype=np.float32))
    if parts is not None:
        parts(module)

    def answer(x: Any) -> Any:
        return tf.nn.softmax(tf.ensure_shape(body(x), [None, 4]) @ module.kernel)

    module.answer = tf.function(answer, input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=module.answer)
    return folder


def changed(folder: Path, change: Callable[[Any], None]) -> Path:
    """A SavedModel whose first graph was changed by hand."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    program = SavedModel.FromString(file.read_bytes())
    change(program.meta_graphs[0])
    file.write_bytes(program.SerializeToString())
    return folder


def after(make: Callable[[], Any]) -> Callable[[Any], Any]:
    """A body that runs something, and then answers."""
    import tensorflow as tf

    def body(x: Any) -> Any:
        with tf.control_dependencies([make()]):
            return tf.identity(x)

    return body


def add_node(meta: Any, name: str, op: str, *inputs: str, function: str = "") -> Any:
    nodes = next((f.node_def for f in meta.graph_def.library.function if f.signature.name == function), None)
    return (meta.graph_def.node if nodes is None else nodes).add(name=name, op=op, input=inputs)
