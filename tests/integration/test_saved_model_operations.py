"""SavedModels with operations that touch files, processes or the network are refused before TensorFlow loads them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_models import add_node, after, changed, save

from edgepress.converters.contract.hints import Hints
from edgepress.converters.inspection import read
from edgepress.converters.sources.graph_operations import (
    COMPUTING,
    TEXT_ATTRIBUTES,
    _computes,
    read_program,
)
from edgepress.converters.sources.open import open_source
from edgepress.converters.sources.saved_model import serving_signature
from edgepress.runtime.errors import ModelFileError


def bodies(marker: str) -> dict[str, Callable[[Any], Any]]:
    """What a body may run, by the operation that must be named."""
    import tensorflow as tf

    raw = tf.raw_ops

    def looped(x: Any) -> Any:
        return tf.while_loop(lambda i, y: i < 1, lambda i, y: (i + 1, after(write)(y)), [0, x])[1]

    def branched(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: after(write)(x), lambda: x)

    def nested(x: Any) -> Any:
        return tf.function(tf.function(after(write)))(x)

    def mapped(x: Any) -> Any:
        return tf.map_fn(after(write), x)

    def graded(x: Any) -> Any:
        return tf.custom_gradient(lambda y: (after(write)(y), lambda up: up))(x)

    def write() -> Any:
        return tf.io.write_file(marker, "x")

    def first(data: Any) -> Any:
        return data.reduce(tf.constant(0), lambda count, _: count + 1)

    table = tf.lookup.TextFileInitializer(marker, tf.string, 0, tf.int64, -1)
    name, slices, types = tf.constant(marker), tf.constant([""]), [tf.float32]
    return {
        "WriteFile": after(write),
        "WriteFile in a loop": looped,
        "WriteFile in a branch": branched,
        "WriteFile in a function": nested,
        "WriteFile of each item": mapped,
        "WriteFile beside a gradient": graded,
        "ReadFile": after(lambda: tf.io.read_file(marker)),
        "MatchingFiles": after(lambda: tf.io.matching_files(marker)),
        "EagerPyFunc": lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), [None, 4]),
        "PyFunc": lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None, 4]),
        "PyFuncStateless": lambda x: raw.PyFuncStateless(input=[x], token="a", Tout=types)[0],
        "PrintV2": after(lambda: tf.print("x", output_stream=f"file://{marker}")),
        "SaveV2": after(lambda: raw.SaveV2(prefix=name, tensor_names=["a"], shape_and_slices=slices, tensors=[[1.0]])),
        "RestoreV2": after(
            lambda: raw.RestoreV2(prefix=name, tensor_names=["a"], shape_and_slices=slices, dtypes=types)[0]
        ),
        "MergeV2Checkpoints": after(
            lambda: raw.MergeV2Checkpoints(checkpoint_prefixes=[name], destination_prefix=name)
        ),
        "InitializeTableFromTextFileV2": after(
            lambda: raw.InitializeTableFromTextFileV2(
                table_handle=raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
                filename=table._filename,
                key_index=-2,
                value_index=-1,
            )
        ),
        "TextLineDataset": after(lambda: first(tf.data.TextLineDataset(marker))),
        "TFRecordDataset": after(lambda: first(tf.data.TFRecordDataset(marker))),
        "SqlDataset": after(lambda: first(tf.data.experimental.SqlDataset("sqlite", marker, "select 1", tf.int32))),
        "CSVDatasetV2": after(lambda: first(tf.data.experimental.CsvDataset(marker, [tf.float32]))),
        "CacheDatasetV2": after(lambda: first(tf.data.Dataset.range(3).cache(marker))),
        "WholeFileReaderV2": after(lambda: raw.WholeFileReaderV2()),
        "ImmutableConst": after(lambda: raw.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name=marker)),
        "DebugIdentity": lambda x: raw.DebugIdentity(input=x, debug_urls=[f"file://{marker}"]),
        "DebugNumericSummary": after(lambda: raw.DebugNumericSummary(input=[1.0], debug_urls=["grpc://localhost:1"])),
        "WriteSummary": after(lambda: raw.WriteSummary(
            writer=raw.SummaryWriter(), step=0, tensor=[1.0], tag="a", summary_metadata=""
        )),
        "RemoteCall": lambda x: tf.ensure_shape(
            raw.RemoteCall(
                target="/job:other",
                args=[x],
                Tout=types,
                f=tf.function(lambda y: y).get_concrete_function(tf.TensorSpec([None, 4])),
            )[0],
            [None, 4],
        ),
        "Abort": after(lambda: raw.Abort(error_msg="x")),
    }  # fmt: skip


CASES = tuple(bodies("marker"))


@pytest.mark.parametrize("case", CASES)
def test_what_does_more_than_compute_is_refused_by_name(case: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", bodies(str(tmp_path / "marker"))[case])
    for opens in (open_source, read):
        with pytest.raises(ModelFileError, match=rf"not loaded: .*\b{case.partition(' ')[0]}\b") as caught:
            opens(folder)
        assert "--trust" in caught.value.hint
    assert os.listdir(tmp_path) == ["model"]


def test_the_hint_for_a_model_of_jax_can_be_followed(tmp_path: Path) -> None:
    """jax2tf can't save one without XlaCallModule."""
    with pytest.raises(ModelFileError, match="not loaded: XlaCallModule") as caught:
        read_program(changed(save(tmp_path / "model"), lambda meta: add_node(meta, "net", "XlaCallModule")))
    assert "give --trust; JAX saves all models so" in caught.value.hint
    assert "without" not in caught.value.hint


def test_with_trust_it_runs(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", bodies(str(tmp_path / "marker"))["WriteFile"])
    with pytest.raises(ModelFileError):
        open_source(folder).answer(np.zeros((1, 4), np.float32))
    assert not (tmp_path / "marker").exists()
    assert open_source(folder, Hints(trust=True)).answer(np.zeros((1, 4), np.float32)).shape == (1, 3)
    assert (tmp_path / "marker").exists(), "the attack is real"
    assert read(folder, trust=True).format == "saved_model"


def test_what_loading_runs_is_looked_at(tmp_path: Path) -> None:
    """`tf.saved_model.load` runs the functions that create and fill resources."""
    import tensorflow as tf

    marker = tmp_path / "marker"

    class Table(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc, name-defined]
        def _create_resource(self) -> Any:
            return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="a")

        def _initialize(self) -> None:
            tf.io.write_file(str(marker), "x")

        def _destroy_resource(self) -> None:
            pass

    def parts(module: Any) -> None:
        module.table = Table()
        module.use = tf.function(lambda: tf.raw_ops.LookupTableSizeV2(table_handle=module.table.resource_handle))
        module.use.get_concrete_function()

    folder = save(tmp_path / "model", parts=parts)
    marker.unlink(missing_ok=True)
    with pytest.raises(ModelFileError, match="WriteFile"):
        open_source(folder)
    assert not marker.exists()
    open_source(folder, Hints(trust=True))
    assert marker.exists()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("damage", ["link", "bytes", "folder"])
def test_what_is_checked_is_what_is_loaded(damage: str, tmp_path: Path) -> None:
    """TensorFlow reads `saved_model.pbtxt` where it finds no `saved_model.pb`."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = save(tmp_path / "model", bodies(str(tmp_path / "marker"))["WriteFile"])
    file = folder / "saved_model.pb"
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(SavedModel.FromString(file.read_bytes())))
    file.unlink()
    if damage == "link":
        file.symlink_to("nowhere")
    elif damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\x0a\xff\xff")
    with pytest.raises(ModelFileError):
        open_source(folder)
    assert not (tmp_path / "marker").exists()


def everyday() -> tuple[Any, dict[str, Callable[[Any], Any]]]:
    """What nets have that only compute; and the module of their parts."""
    import tensorflow as tf

    kept = tf.Module()
    kept.random = random = tf.random.Generator.from_seed(1)
    kept.table = table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.0]), 0.0)

    def looped(x: Any) -> Any:
        list_ = tf.TensorArray(tf.float32, 3)
        for i in tf.range(3):
            list_ = list_.write(i, x)
        return list_.stack()[0]

    def branched(x: Any) -> Any:
        tf.debugging.assert_greater(tf.size(x), 0)
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)

    def decoded(x: Any) -> Any:
        picture = tf.io.decode_image(tf.io.encode_png(tf.zeros([2, 2, 3], tf.uint8)))
        return x + tf.cast(tf.reduce_sum(picture), tf.float32)

    def spelled(x: Any) -> Any:
        words = tf.strings.split(tf.strings.lower(tf.strings.as_string(x[0])), ".").to_tensor()
        return x + tf.strings.to_number(tf.strings.regex_replace(words[0, 0], "a", "1"))

    return kept, {
        "random": lambda x: x + random.normal([4]) + tf.random.normal([4]) + tf.nn.dropout(x, 0.5),
        "tables": lambda x: x * table.lookup(tf.constant("a")),
        "loops": looped,
        "branches": branched,
        "pictures": decoded,
        "text": spelled,
        "einsum": lambda x: tf.einsum("ij,jk->ik", x, tf.eye(4)),
        "recurrent": lambda x: tf.scan(lambda a, b: a + b, x),
        "spectra": lambda x: tf.abs(tf.signal.stft(x, 4, 4))[:, 0, :1] + x,
        "gradients": lambda x: tf.gradients(tf.nn.relu(x), x)[0],
    }


EVERYDAY = ("random", "tables", "loops", "branches", "pictures", "text", "einsum", "recurrent", "spectra", "gradients")


@pytest.mark.parametrize("case", EVERYDAY)
def test_what_computes_is_opened(case: str, tmp_path: Path) -> None:
    kept, cases = everyday()
    assert tuple(cases) == EVERYDAY
    read_program(save(tmp_path / "model", cases[case], lambda module: setattr(module, "kept", kept)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "device", "pipe in a linked folder"])
def test_what_is_no_file_is_not_waited_for(kind: str, trust: bool, tmp_path: Path) -> None:
    """TensorFlow read a pipe in place of the weights, for ever: `convert` waited for minutes."""
    (tmp_path / "saved_model.pb").touch()
    variables = tmp_path / "variables"
    if kind == "pipe in a linked folder":
        (tmp_path / "other").mkdir()
        variables.symlink_to("other")
    else:
        variables.mkdir()
    data = variables / "variables.data-00000-of-00001"
    if kind == "device":
        data.symlink_to("/dev/zero")
    else:
        os.mkfifo(data)
    with pytest.raises(ModelFileError, match=r"variables\.data-00000-of-00001 is a pipe, a socket or a device"):
        serving_signature(tmp_path, trust=trust)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("what", ["saved model", "text file"])
def test_keras_files_open_no_other_files(suffix: str, what: str, tmp_path: Path) -> None:
    import keras

    if what == "saved model":
        folder = save(tmp_path / "model", bodies(str(tmp_path / "marker"))["WriteFile"])
        source = keras.Input((4,))
        answer = keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")(source)
        net = keras.Model(source, answer["output_0"])
        (tmp_path / "marker").unlink(missing_ok=True)
    else:
        (tmp_path / "words.txt").write_text("a\nb\n")
        source = keras.Input((1,), dtype="string")
        numbers = keras.layers.StringLookup(vocabulary=str(tmp_path / "words.txt"))(source)
        net = keras.Model(source, keras.layers.Flatten()(keras.layers.Embedding(4, 3)(numbers)))
    file = tmp_path / f"net{suffix}"
    net.save(file)
    with pytest.raises(ModelFileError):
        open_source(file)
    assert not (tmp_path / "marker").exists()


TOUCHING = re.compile(r"File|Reader|Save|Restore|PyFunc|Debug|Rpc|Recv|Send|Writer|Print|Remote|Session|Dump|Sql|Host")
SOUND_LIKE_IT = {
    "DebugGradientIdentity": "it returns its input",
    "DebugGradientRefIdentity": "it returns its input",
    "DebugNumericSummaryV2": "it counts the values of a tensor, and has no address to send that to",
    "HostConst": "a constant",
    "SnapshotNestedDatasetReader": "its inputs are data sets that others have made, not paths",
}
"""Operations that are taken although their names sound like files or the network, and why."""


def test_the_rule_holds_for_every_operation_that_this_tensorflow_has() -> None:
    """Each one that is taken has no text to name anything with, or stands in the table; and the table has no more."""
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    tf.constant(0)
    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    operations = op_def_pb2.OpList.FromString(data).op
    names = [operation.name for operation in operations]
    assert len(names) > 1500
    taken = [name for name in names if _computes(name)]
    assert {name for name in taken if TOUCHING.search(name)} == set(SOUND_LIKE_IT)
    sources = {"TextLineDataset", "TFRecordDatasetV2", "FixedLengthRecordDatasetV2", "CSVDatasetV2", "LMDBDataset"}
    assert {*names} >= sources
    assert not sources & {*taken}
    for about, pattern in COMPUTING.items():
        assert any(re.fullmatch(pattern, name) for name in names), about
    attributes = {attribute.name for operation in operations for attribute in operation.attr}
    assert attributes >= TEXT_ATTRIBUTES


def test_several_inputs_stand_in_the_same_order_in_every_process(tmp_path: Path) -> None:
    """TensorFlow takes it from a set, and files are made and verified in several processes."""
    import tensorflow as tf

    names = list("fbdeacg")
    specs = [tf.TensorSpec([None, 2], tf.float32, name) for name in names]
    module = tf.Module()
    module.answer = tf.function(lambda *parts: tf.nn.softmax(sum(parts)), input_signature=specs)
    tf.saved_model.save(module, str(tmp_path), signatures=module.answer)
    assert list(serving_signature(tmp_path).inputs) == sorted(names)
