"""Only the loader of a SavedModel saves and restores its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_models import add_node, changed, save

from edgepress.converters.contract.hints import Hints
from edgepress.converters.sources.graph_operations import WRITING, harmless, read_program
from edgepress.converters.sources.open import open_source
from edgepress.converters.sources.saved_model import serving_signature
from edgepress.runtime.errors import ModelFileError


def _restores_by_writing(meta: Any) -> None:
    add_node(meta, "evil", "SaveV2", meta.saver_def.filename_tensor_name)
    meta.saver_def.restore_op_name = "evil"


def _restores_another_file(meta: Any) -> None:
    add_node(meta, "file", "Const")
    add_node(meta, "evil", "RestoreV2", "file")
    meta.saver_def.restore_op_name = "evil"


def _restores_another_file_in_the_function(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    add_node(meta, "file", "Const")
    restore.input[0] = "file"


def _restores_by_writing_in_the_function(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    add_node(meta, "evil", "SaveV2", "file_prefix", function=restore.attr["f"].func.name)


def _answers_what_saves(meta: Any) -> None:
    meta.signature_def["serving_default"].outputs["output_0"].name = meta.saver_def.save_tensor_name


def _begins_with_what_saves(meta: Any) -> None:
    meta.collection_def["saved_model_main_op"].node_list.value.append(meta.saver_def.save_tensor_name)


def _has_a_variable_of_what_saves(meta: Any) -> None:
    from tensorflow.core.framework.variable_pb2 import VariableDef

    variable = VariableDef(variable_name="v", initial_value_name=meta.saver_def.save_tensor_name)
    meta.collection_def["variables"].bytes_list.value.append(variable.SerializeToString())


def _answers_by_the_function_that_saves(meta: Any) -> None:
    (saves,) = (n for n in meta.graph_def.node if n.name == meta.saver_def.save_tensor_name.partition(":")[0])
    meta.object_graph_def.concrete_functions[saves.attr["f"].func.name].SetInParent()


def _calls_a_function_by_its_name(meta: Any) -> None:
    (saves,) = (n for n in meta.graph_def.node if n.name == meta.saver_def.save_tensor_name.partition(":")[0])
    serving = next(iter(meta.object_graph_def.concrete_functions))
    add_node(meta, "evil", saves.attr["f"].func.name, function=serving)


def _calls_what_restores_with_another_file(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    add_node(meta, "file", "Const")
    again = add_node(meta, "evil", "StatefulPartitionedCall", "file", *restore.input[1:])
    again.attr["f"].func.name = restore.attr["f"].func.name


def _answers_by_the_function_that_restores(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    meta.object_graph_def.concrete_functions[restore.attr["f"].func.name].SetInParent()


def _has_an_object_of_the_function_that_restores(meta: Any) -> None:
    """TensorFlow makes such objects of functions that are not in its map of those, too."""
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    objects = meta.object_graph_def.nodes
    objects[0].children.add(node_id=len(objects), local_name="evil")
    objects.add().bare_concrete_function.concrete_function_name = restore.attr["f"].func.name


def _has_a_method_of_the_function_that_restores(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    meta.object_graph_def.nodes.add().function.concrete_functions.append(restore.attr["f"].func.name)


def _calls_what_restores_by_an_attribute_of_another(meta: Any) -> None:
    """A function whose attribute `g` is what it calls."""
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    outer = meta.graph_def.library.function.add()
    outer.signature.name = "outer"
    outer.signature.attr.add(name="g", type="func")
    outer.node_def.add(name="inner", op="StatefulPartitionedCall").attr["f"].placeholder = "g"
    called = add_node(meta, "evil", "StatefulPartitionedCall").attr["f"].func
    called.name = "outer"
    called.attr["g"].func.name = restore.attr["f"].func.name


def _restores_another_output(meta: Any) -> None:
    """The loader gives the first output of a split."""
    add_node(meta, "split", "Split", "axis", "files")
    add_node(meta, "evil", "RestoreV2", "split:1")
    meta.saver_def.filename_tensor_name, meta.saver_def.restore_op_name = "split:0", "evil"


def _gives_another_output_to_the_function(meta: Any) -> None:
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    add_node(meta, "split", "Split", "axis", "files")
    restore.input[0] = "split:1"
    meta.saver_def.filename_tensor_name = "split:0"


def _calls_what_restores_in_a_function(meta: Any) -> None:
    """Whose argument has the name of the loader's node."""
    (restore,) = (node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    file = meta.saver_def.filename_tensor_name.partition(":")[0]
    outer = meta.graph_def.library.function.add()
    outer.signature.name = "outer"
    outer.signature.input_arg.add(name=file)
    outer.node_def.add().CopyFrom(restore)
    add_node(meta, "other", "Const")
    restore.attr["f"].func.name = "outer"
    restore.input[0] = "other"


def _hides_a_function_behind_another(meta: Any) -> None:
    """Of two functions of one name, the last has no operation."""
    functions = meta.graph_def.library.function
    functions[0].node_def.add(name="evil", op="WriteFile")
    functions.add().signature.name = functions[0].signature.name


def _names_a_function_like_an_operation(meta: Any) -> None:
    meta.graph_def.library.function.add().signature.name = "WriteFile"
    add_node(meta, "evil", "WriteFile")


def _has_what_nobody_runs(meta: Any) -> None:
    add_node(meta, "evil", "WriteFile")


def _has_an_unknown_operation(meta: Any) -> None:
    add_node(meta, "evil", "Frobnicate")


@pytest.mark.parametrize(
    "change",
    [
        _restores_by_writing,
        _restores_another_file,
        _restores_another_file_in_the_function,
        _restores_by_writing_in_the_function,
        _answers_what_saves,
        _begins_with_what_saves,
        _has_a_variable_of_what_saves,
        _answers_by_the_function_that_saves,
        _calls_a_function_by_its_name,
        _calls_what_restores_with_another_file,
        _answers_by_the_function_that_restores,
        _has_an_object_of_the_function_that_restores,
        _has_a_method_of_the_function_that_restores,
        _calls_what_restores_by_an_attribute_of_another,
        _restores_another_output,
        _gives_another_output_to_the_function,
        _calls_what_restores_in_a_function,
        _hides_a_function_behind_another,
        _names_a_function_like_an_operation,
        _has_what_nobody_runs,
        _has_an_unknown_operation,
    ],
)
def test_checkpoints_are_saved_and_restored_by_the_loader_alone(change: Callable[[Any], None], tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    read_program(folder)
    with pytest.raises(ModelFileError, match=r"SaveV2|RestoreV2|WriteFile|Frobnicate"):
        read_program(changed(folder, change))


def test_what_is_loaded_writes_no_checkpoint(tmp_path: Path) -> None:
    """Whatever may run them: the operations of the copy that wrote files do nothing."""
    folder = save(tmp_path / "model")
    assert WRITING & operations(read_program(folder)) == WRITING
    with harmless(folder) as copy:
        assert not WRITING & operations(read_program(copy))
    (answer,) = serving_signature(folder).call(x=np.zeros((1, 4), np.float32)).values()
    np.testing.assert_allclose(answer, 1 / 3)


def operations(program: Any) -> set[str]:
    """The names of all operations of a program."""
    graphs = [meta.graph_def for meta in program.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    return {node.op for node in (*nodes, *(n for graph in graphs for f in graph.library.function for n in f.node_def))}


def of_tensorflow_1(folder: Path, answer: Callable[[Any, Any], Any], value: float = 1) -> Path:
    """A SavedModel of TensorFlow 1 that answers what `answer` makes of its input and of its weights."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        y = answer(x, v1.get_variable("w", [4, 3], use_resource=True, initializer=v1.constant_initializer(value)))
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


@pytest.mark.parametrize("reads", ["what the loader names", "the name before it"])
def test_an_answer_of_another_checkpoint_is_refused(reads: str, tmp_path: Path) -> None:
    """The name that the loader gives has a default, which holds wherever else the checkpoint is read."""
    import tensorflow as tf

    def body(x: Any, w: Any) -> Any:
        return tf.linalg.matmul(x, w, name="MatMul")

    secret = of_tensorflow_1(tmp_path / "secret", body, value=7) / "variables" / "variables"

    def attack(meta: Any) -> None:
        nodes = {node.name: node for node in meta.graph_def.node}
        nodes["save/filename/input"].attr["value"].tensor.string_val[:] = [str(secret).encode()]
        nodes["MatMul"].input[1] = "save/Identity_1"
        if reads == "the name before it":
            nodes["save/RestoreV2"].input[0] = "save/filename"

    folder = of_tensorflow_1(tmp_path / "model", body)
    np.testing.assert_array_equal(open_source(folder).answer(np.ones((1, 4), np.float32)), 4)
    changed(folder, attack)
    np.testing.assert_array_equal(open_source(folder, Hints(trust=True)).answer(np.ones((1, 4), np.float32)), 28)
    with pytest.raises(ModelFileError):
        open_source(folder)


def test_what_is_loaded_reads_no_other_checkpoint(tmp_path: Path) -> None:
    """Whatever may run it: what reads a checkpoint that is not the loader's has no name of a file."""
    folder = changed(save(tmp_path / "model"), _reads_where_nobody_looks)
    with harmless(folder) as copy:
        program = read_program(copy)
    (meta,) = program.meta_graphs
    scopes = [meta.graph_def.node, *(f.node_def for f in meta.graph_def.library.function)]
    read = {node.name: node.input[0] for nodes in scopes for node in nodes if node.op == "RestoreV2"}
    assert read == {
        "RestoreV2": "file_prefix",
        "evil": "edgepress_names_no_file",
        "inner": "edgepress_names_no_file:output:0",
    }
    kinds = {node.name: node.op for nodes in scopes for node in nodes}
    assert kinds["edgepress_names_no_file"] == kinds[meta.saver_def.filename_tensor_name[:-2]] == "Placeholder"
    (answer,) = serving_signature(folder).call(x=np.zeros((1, 4), np.float32)).values()
    np.testing.assert_allclose(answer, 1 / 3)


def _reads_where_nobody_looks(meta: Any) -> None:
    """Beside the loader's: in the graph, and in a function that nobody calls."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        name, slices = tf.constant("/elsewhere", name="file"), tf.constant([""], name="slices")
        tf.raw_ops.RestoreV2(prefix=name, tensor_names=["a"], shape_and_slices=slices, dtypes=["float"], name="evil")
    nodes = graph.as_graph_def().node
    meta.graph_def.node.extend(nodes)
    function = meta.graph_def.library.function.add()
    function.signature.name = "unused"
    function.node_def.extend(nodes)
    for node in function.node_def:
        node.name = "inner" if node.name == "evil" else node.name
        node.input[:] = [f"{each}:output:0" for each in node.input]


def test_a_variable_that_writes_when_it_is_read_is_refused(tmp_path: Path) -> None:
    """TensorFlow 1 reads each variable by the name of its node when it freezes a graph."""
    import tensorflow as tf

    v1 = tf.compat.v1
    folder = tmp_path / "model"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 8], name="x")
        weights = v1.get_variable("w", [8, 3], use_resource=True, initializer=v1.zeros_initializer())
        y = tf.nn.softmax(x @ weights)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        saver = v1.train.Saver([weights])
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
        builder.save()
    with tf.Graph().as_default() as graph:
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "written"), tensor_names=["a"], shape_and_slices=[""], tensors=[[1.0]], name="evil"
        )
    program = read_program(folder)
    nodes = program.meta_graphs[0].graph_def.node
    nodes.extend(graph.as_graph_def().node)
    next(node for node in nodes if node.name == "w/Read/ReadVariableOp").input.append("^evil")
    program.meta_graphs[0].collection_def.clear()
    (folder / "saved_model.pb").write_bytes(program.SerializeToString())
    with pytest.raises(ModelFileError, match="SaveV2"):
        serving_signature(folder)
    assert not [*tmp_path.glob("written*")]
