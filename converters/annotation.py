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
from edgepress.converters.contract.hints import Facts, Hints
from edgepress.converters.contract.metadata import onnx_metadata, tflite_metadata
from edgepress.converters.contract.outputs import refuse_other_outputs
from edgepress.converters.contract.probe import probed
from edgepress.converters.contract.published import published_contract
from edgepress.converters.contract.write import onnx_annotated, tflite_with_contract
from edgepress.converters.errors import ConversionError, parsing
from edgepress.converters.files import whole_file, write_text
from edgepress.converters.proof.selftest import candidates, chosen_seeds, make_selftest
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import passes
from edgepress.converters.worker import Emit
from edgepress.runtime import Contract, Model, load
from edgepress.runtime.engines import open_session
from edgepress.runtime.errors import InputError

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
class Description:
    """The contract of a file, with a note on each value that was found or guessed."""

    contract: Contract
    notes: tuple[str, ...]


def describe(job: DescribeJob, emit: Emit) -> None:
    """Emit the `Description` of a file.

    Raises:
        EdgepressError: It can't be opened, is not a classifier, or too little is known of it.
    """
    bare, facts = _opened(job.path)
    contract, notes = published_contract(job.path, facts, job.hints, scheme_of(job.path))
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
        refuse_other_outputs(scores, contract.task, softmax=softmax, ends_in=facts.ends_in)
    emit(Description(contract, notes))


def annotate(job: AnnotateJob, emit: Emit) -> None:
    """Write the copy and emit its contract, which has a self-test if the file's answers allow one.

    Raises:
        ConversionError: The copy does not answer as the file does.
        InputError, ModelFileError: It can't be written, or the file can't be read or rewritten.
    """
    content = job.path.read_bytes()
    tflite = content[4:8] == b"TFL3"
    digest, tools = hashlib.sha256(content).hexdigest(), {"edgepress": metadata.version("edgepress")}
    made = job.contract.parent_sha256 != ""  # converted, or annotated before: it keeps its source
    contract = job.contract if made else job.contract.replace(parent_sha256=digest, tools=tools)
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
        emit(contract)
        return
    with whole_file(job.out) as temporary:
        if tflite:
            temporary.write_bytes(tflite_with_contract(content, contract))
        else:
            temporary.write_bytes(onnx_annotated(content, contract, moved=job.path.parent != job.out.parent))
        before, after = load(job.path, contract=contract), load(temporary)
        if not np.array_equal(before.answer(items), after.answer(items), equal_nan=True):
            raise ConversionError(f"The copy of {job.path} does not answer as it does.", "Please report it.")
    emit(contract)


def scheme_of(path: Path) -> str:
    """Name of the scheme that computes as a file does, whoever made it.

    Raises:
        ModelFileError: It can't be read.
    """
    found = inspection.read(path)
    if found.contract is not None and found.contract.scheme in SCHEMES:
        return found.contract.scheme
    work = {node.computes_in for node in found.nodes}
    stored = {weight.dtype for weight in found.weights if weight.size_bytes >= 256}
    precision = "float32"
    if "int16" in work:
        precision = "int16x8"
    elif work & {*INTEGERS}:
        precision = "int8"
    elif "dynamic" in work or stored & {*INTEGERS}:
        precision = "dynamic"
    elif "float16" in stored:
        precision = "float16"
    return f"{found.format}-{precision if f'{found.format}-{precision}' in SCHEMES else 'int8'}"


def _opened(path: Path) -> tuple[Model, Facts]:
    """A file opened without its contract, which takes and returns real numbers as the file has them, and its facts."""
    engine, session = open_session(path, None, 1)
    known, session.contract = session.contract, None
    bare = Model(path, engine, 1, session)
    content = path.read_bytes()
    with parsing(path):
        if content[4:8] == b"TFL3":
            found, last = tflite_metadata(content), ""
            with contextlib.suppress(ConversionError):  # several graphs: control flow
                last = passes.last_operation(content)
        else:
            import onnx

            model = onnx.load_from_string(content)
            found = onnx_metadata({p.key: p.value for p in model.metadata_props})
            last = interface.last_operation(model)
    fixed = all(n > 0 for n in session.shape)
    facts = Facts(
        session.shape,
        session.classes,
        output_shape=session.output_shape if len(session.output_shape) > 1 else (),
        format=path.suffix[1:],
        dtype=session.dtype.name,
        quantization=session.scale,
        ends_in=last,
        metadata=found,
        contract=known,
    )
    return bare, probed(facts, lambda x: bare.answer(x).reshape(len(x), -1)) if fixed else facts
