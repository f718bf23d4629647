"""Describe a `.tflite` or `.onnx` file that others made, and write the description into a copy of it.

Both functions open the file in an engine, so they run in a child process. The weights of a copy are those of the file,
and its answers are compared with the file's before it gets its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from edgepress.converters import inspection
from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Hints, ModelFacts, Size, fixed_shape
from edgepress.converters.contract.kinds import probe_facts
from edgepress.converters.contract.metadata import onnx_metadata, tflite_metadata
from edgepress.converters.contract.outputs import refuse_other_outputs
from edgepress.converters.contract.write import onnx_annotated, published_contract, tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file, write_text
from edgepress.converters.process.worker import Emit
from edgepress.converters.proof.selftest import candidates, chosen_seeds, make_selftest
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import interface as resize
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.runtime import Contract, Model, load
from edgepress.runtime.engines import open_session
from edgepress.runtime.errors import InputError, ModelFileError, parsing

PROOF_ITEMS = 6
"""Items on which the outputs are looked at."""
INTEGERS = ("int8", "uint8", "int4", "uint4")


@dataclass(frozen=True)
class DescribeJob:
    """Describe a file, which may have a contract, with what the user knows of it."""

    path: Path
    hints: Hints


@dataclass(frozen=True)
class AnnotateJob:
    """Write a contract into a copy of a file; a path that ends in `.json` gets the contract alone."""

    path: Path
    contract: Contract
    out: Path


@dataclass(frozen=True)
class FileDescription:
    """The contract of a file, with a note on each value that was found or guessed."""

    contract: Contract
    notes: tuple[str, ...]


def describe(job: DescribeJob, emit: Emit) -> None:
    """Emit the `FileDescription` of a file.

    Raises:
        EdgepressError: It can't be opened, is not a classifier, or too little is known of it.
    """
    with parsing(job.path):
        emit(_describe(job))


def _describe(job: DescribeJob) -> FileDescription:
    bare, facts = _open_bare(job.path, job.hints.size)
    try:
        contract, notes = published_contract(job.path, facts, job.hints, scheme_of(inspection.read(job.path)))
    except InputError as e:
        raise InputError(f"{job.path}: {e.message}", e.hint) from e
    adapter = InputAdapter.of(contract)
    answers = bare.answer(adapter.apply(candidates(contract.input)[:PROOF_ITEMS]))
    scores = answers.reshape(len(answers), -1)
    ends_in_softmax = facts.ends_in.lower() == "softmax"
    if ends_in_softmax and contract.task == "logits":
        raise InputError(
            f"The outputs of {job.path} are probabilities: its graph ends in a softmax.", "Give --task softmax."
        )
    # A quantized softmax of many labels sums to less than 1, because small probabilities are rounded to 0.
    if not ends_in_softmax and np.isfinite(scores).all():
        softmax = job.hints.softmax or adapter.end is not None
        images = contract.input.is_image
        refuse_other_outputs(scores, contract.task, softmax=softmax, images=images, ends_in=facts.ends_in)
    return FileDescription(contract, notes)


def annotate(job: AnnotateJob, emit: Emit) -> None:
    """Write the copy and emit its contract, which has a self-test if the file's answers allow one.

    Raises:
        ConversionError: The copy does not answer as the file does.
        InputError, ModelFileError: It can't be written, or the file can't be read or rewritten.
    """
    with parsing(job.path, "Check how it was made.", failed="can't be annotated"):
        emit(_annotate(job))


def _annotate(job: AnnotateJob) -> Contract:
    content = job.path.read_bytes()
    tflite = is_tflite(content)
    digest = hashlib.sha256(content).hexdigest()
    tools = {"edgepress": metadata.version("edgepress")}
    contract = job.contract
    if not contract.parent_sha256:  # else it was converted or annotated before, and keeps its source
        contract = contract.replace(parent_sha256=digest, tools=tools)
    items = candidates(contract.input)
    answers = load(job.path, contract=contract).answer(items)
    seeds = chosen_seeds(answers.reshape(len(items), -1), raw=contract.task == "none")
    logits = contract.task == "logits"
    raw = contract.replace(task="softmax") if logits else contract
    contract = contract.replace(
        selftest=make_selftest(load(job.path, contract=raw), SCHEMES[contract.scheme], seeds, logits=logits)
    )
    if job.out.suffix == ".json":
        write_text(job.out, contract.to_json() + "\n")
        return contract
    with whole_file(job.out) as temporary:
        try:
            moved = job.path.parent != job.out.parent
            described = (
                tflite_with_contract(content, contract) if tflite else onnx_annotated(content, contract, moved=moved)
            )
        except (ConversionError, ModelFileError) as e:
            raise type(e)(
                f"{job.path} can't be copied. {e.message}", "Write its contract alone: --out NAME.json."
            ) from e
        temporary.write_bytes(described)
        before = load(job.path, contract=contract)
        after = load(temporary)
        if not np.array_equal(before.answer(items), after.answer(items), equal_nan=True):
            raise ConversionError(f"The copy of {job.path} gives other answers than the file.", "Please report it.")
    return contract


def scheme_of(file: inspection.Inspection) -> str:
    """Name of the scheme that computes as a file does, whoever made it."""
    if file.contract is not None and file.contract.scheme in SCHEMES:
        return file.contract.scheme
    work = {node.computes_in for node in file.nodes}
    stored = {weight.dtype for weight in file.weights if weight.size_bytes >= 256}
    precision = "float32"
    if "int16" in work:
        precision = "int16x8"
    elif work & {*INTEGERS}:
        precision = "int8"
    elif "dynamic" in work or stored & {*INTEGERS}:
        precision = "dynamic"
    elif "float16" in stored:
        precision = "float16"
    return f"{file.format}-{precision if f'{file.format}-{precision}' in SCHEMES else 'int8'}"


def _open_bare(path: Path, size: Size | None) -> tuple[Model, ModelFacts]:
    """A file opened without its contract, which takes and returns real numbers as the file has them, and its facts."""
    engine, session = open_session(path, None, 1)
    known = session.contract
    if session.dtype.names:
        names = ", ".join(session.dtype.names)
        hint = "edgepress convert makes files with a contract of such a model: take those."
        raise InputError(f"{path} has the inputs {names}; only a file of one input can be described as it is.", hint)
    session.contract = None
    content = path.read_bytes()
    tflite = is_tflite(content)
    session.shape = (known.adapter or known.input).shape if known else _fix_sizes(path, content, session.shape, size)
    bare = Model(path, engine, 1, session)
    with parsing(path):
        if tflite:
            written = tflite_metadata(content)
            last = ""
            scores = ""
            with contextlib.suppress(ConversionError, ModelFileError):  # several graphs, or odd: the engine takes it
                last = passes.last_operation(content)
                scores = passes.chosen_from(content)
        else:
            import onnx

            model = onnx.load_from_string(content)
            written = onnx_metadata({p.key: p.value for p in model.metadata_props})
            last = interface.last_operation(model)
            scores = interface.chosen_from(model)
    facts = ModelFacts(
        session.shape,
        session.classes,
        output_shape=session.output_shape if len(session.output_shape) > 1 else (),
        format="tflite" if tflite else "onnx",
        dtype=session.dtype.name,
        quantization=session.scale,
        ends_in=last,
        chosen_from=scores,
        metadata=written,
        contract=known,
    )
    return bare, probe_facts(facts, lambda x: bare.answer(x).reshape(len(x), -1))


def _fix_sizes(path: Path, content: bytes, shape: tuple[int, ...], size: Size | None) -> tuple[int, ...]:
    """The shape of an item with all of its sizes fixed; only ONNX engines take any size of a file as it is.

    Raises:
        ModelFileError: A size is free and `size` is None, or it is a TFLite file.
        InputError: `size` does not fit the shape.
    """
    input_shape: tuple[int | None, ...] = tuple(n if n > 0 else None for n in shape)
    if is_tflite(content):
        with contextlib.suppress(ConversionError, ModelFileError):  # as above
            input_shape = resize.item_shape(content)
        if None in input_shape:
            hint = "Make a file of one size: edgepress convert, with --size."
            raise ModelFileError(f"{path} leaves sizes of its input free, and stays as it is.", hint)
    return fixed_shape(input_shape, size, str(path))
