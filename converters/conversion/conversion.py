"""Convert a model to any number of schemes, in child processes.

TFLite and ONNX files are made at the same time, each format in its own process: if native code crashes, hangs or takes
too much memory there, that scheme becomes a variant with an error, and the others continue in a new process.

    >>> with Conversion("model.h5") as conversion:
    ...     guess = guess_contract(conversion.facts)              # contract, adapter, notes
    ...     conversion.run(["tflite-int8"], guess.contract, adapter=guess.adapter, calibration=batches, out="out")
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from edgepress.converters.adapter import End, InputAdapter
from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.outputs import SIGMOIDS
from edgepress.converters.conversion.advice import Given, with_advice
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.float_graph import FloatGraphJob
from edgepress.converters.conversion.make import Began, Done
from edgepress.converters.conversion.processes import Processes
from edgepress.converters.files import sha256_of
from edgepress.converters.options.conversion import MINMAX, ConversionOptions
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import ChildDied, Emit
from edgepress.converters.proof.selftest import ProofItems
from edgepress.converters.proof.verify import end_of
from edgepress.converters.ptq.calibration import Validation
from edgepress.converters.schemes import SCHEMES, Target, file_paths, refuse_other_schemes
from edgepress.converters.variant import Variant, across
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import InputError, unknown
from edgepress.runtime.filetypes import kind_of
from edgepress.runtime.input_record import inputs_of

TOOLS = ("edgepress", "tensorflow", "keras", "litert-quantizer", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")
SILENCE_S = 1800.0
"""Time limit for one scheme, seconds."""


class Conversion:
    """A model that is being converted; a context manager, because child processes work for it.

    Args:
        path: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, or a SavedModel folder.
        hints: How to open it (`custom`, `trust`).
        silence_s: Seconds that one step may take before it has failed.
        memory_bytes: Memory that one process may take; None means 80 % of the machine's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        hints: Hints | None = None,
        silence_s: float = SILENCE_S,
        memory_bytes: int | None = None,
    ) -> None:
        self.path = Path(path)
        kind_of(self.path)  # raises an error if it is missing
        self._processes = Processes(self.path, hints or Hints(), silence_s=silence_s, memory_bytes=memory_bytes)

    def __enter__(self) -> Conversion:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._processes.close()

    @cached_property
    def facts(self) -> ModelFacts:
        """What can be seen of the model.

        Raises:
            ModelFileError: It can't be opened, or crashes the process that opens it.
        """
        try:
            return self._processes.open("tflite")
        except ChildDied as e:
            raise self._processes.crash_error(e) from e

    @property
    def stem(self) -> str:
        """The model's name without its suffix; of a file that edgepress converted, without its precision, too."""
        name = self.path.resolve().name if self.path.is_dir() else self.path.stem
        scheme = SCHEMES.get(self.facts.contract.scheme) if self.facts.contract else None
        return name.removesuffix(f"-{scheme.precision}") or name if scheme else name

    def run(
        self,
        schemes: Sequence[str],
        contract: Contract,
        *,
        adapter: InputAdapter | None = None,
        calibration: Batches,
        out: str | Path,
        stem: str | None = None,
        proof: Array | None = None,
        proof_labels: Array | None = None,
        proof_name: str = "seeded",
        proof_own: bool = False,
        again: Sequence[str] = (),
        how: ConversionOptions = MINMAX,
        validation: Validation | None = None,
        logits: bool = False,
        on_step: Callable[[str], None] | None = None,
        on_start: Callable[[str], None] | None = None,
        on_done: Callable[[Variant], None] | None = None,
    ) -> list[Variant]:
        """Make a file for every scheme.

        Args:
            schemes: Names in the scheme table (`parse_schemes` reads them from text).
            contract: The contract of the files.
            adapter: Operations needed before and after the model; None if it takes the contract's items as they are.
            calibration: Returns the calibration items as batches (n, *item shape), from the start at each call;
                picklable. Called only for schemes that need it.
            out: Folder for the files; made if missing.
            stem: Beginning of the file names: `{stem}-{precision}.{format}`; None takes the model's.
            proof: Items (n, *item shape) on which a file is compared with the source model; None takes seeded ones.
            proof_labels: Their labels, integers, shape (n,), or rows of 0 and 1 for each of the contract's, if they are
                these and in their order.
            proof_name: Name of these items, for the contract.
            proof_own: Whether these items are like those that the model was trained on, as far as that is known.
            again: Options with which a command opens the model and these items again, for advice.
            how: How files are made; `samples` is for whoever chooses the calibration items.
            validation: Items on which these trials are scored, and their labels; None takes calibration items.
            logits: Whether the files leave the model's last softmax or sigmoid to the runtime.
            on_step: Called with what is done before the files are made, in words.
            on_start: Called with each scheme's name before work on it begins.
            on_done: Called with each variant, made or failed.

        Returns:
            One variant for each scheme, in the order given.

        Raises:
            InputError: A scheme is unknown or not for the target, or the folder can't be written.
            ModelFileError: The model can't be opened, or contradicts the contract.
        """
        adapter = adapter or InputAdapter(contract.input, contract.input.shape)
        paths = self._paths(schemes, Path(out), stem, contract=contract, adapter=adapter, target=how.target)
        left_off = self._last_operation(contract, adapter) if logits else None
        tools = {name: metadata.version(name) for name in TOOLS}
        learned = dict(contract.ranges)  # a graph that was trained for quantization stays as it is
        contract = contract.without_limits().replace(ranges={}, parent_sha256=sha256_of(self.path), tools=tools)
        graph_job = FloatGraphJob(
            Path(),
            adapter,
            calibration,
            validation=validation,
            labelled=contract.task != "none",
            wanted=tuple({SCHEMES[name].repairs: None for name in schemes if SCHEMES[name].repairs}),
            how=dataclasses.replace(how, repairs=False, calibration="minmax") if learned else how,
            mixed=any(SCHEMES[name].is_mixed for name in schemes),
            split=(
                how.target == "integer-only"
                and not learned
                and not inputs_of(contract.input)
                and contract.input.dtype == "float32"
            ),
        )
        reports: dict[str, Done] = {}
        with ScratchFolder() as folder:
            try:
                if on_step:
                    is_repairing = graph_job.how.repairs and graph_job.wanted
                    on_step("Making the float graph" + (" and repairing it" if is_repairing else ""))
                float_graph = self._processes.float_graph(schemes, dataclasses.replace(graph_job, folder=Path(folder)))
                job = FilesJob(
                    paths,
                    contract,
                    adapter,
                    calibration,
                    proof=ProofItems(proof, proof_labels, proof_name, how.verify),
                    float_graph=float_graph,
                    how=how,
                    learned=learned,
                    left_off=left_off,
                )
                for report in self._processes.make_all_files(job):
                    if isinstance(report, Began) and on_start:
                        on_start(report.scheme)
                    if isinstance(report, Done):
                        reports[report.variant.scheme] = report
                        if on_done:
                            on_done(report.variant)
            except BaseException:  # Ctrl-C too; the processes end before the folder that they write to goes
                self._processes.abandon(paths.values())
                raise
        answers = {name: done.scores for name, done in reports.items() if done.scores is not None}
        given = Given(
            target=how.target,
            data=proof is not None,
            labels=proof is not None or contract.task == "none",
            own=proof_own,
            scaling=contract.input.is_image and self.facts.takes_scaling,
            repairs=how.repairs,
            tunable="" if learned or proof is None else shlex.join([str(self.path), *again]),
        )
        return with_advice([across(reports[name].variant, answers) for name in schemes], given)

    def _last_operation(self, contract: Contract, adapter: InputAdapter) -> End | None:
        """The last operation that files of logits leave to the runtime; None if the model returns logits itself.

        Raises:
            InputError: The outputs are no probabilities of labels, or the graph ends in another operation.
        """
        if contract.task == "none":
            raise InputError(
                f"{self.path} has no labels (its task is none), so no logits.", "Leave out --output logits."
            )
        if adapter.end is not None or contract.task == "logits":
            return adapter.end
        ends_in = self.facts.ends_in.lower()
        if ends_in and ends_in not in ("softmax", *SIGMOIDS):
            raise InputError(
                f"{self.path} ends in {self.facts.ends_in}, not in a softmax or sigmoid, so its logits are not known.",
                "Leave out --output logits.",
            )
        return end_of(contract.task, ends_in) or None

    def _paths(
        self,
        schemes: Sequence[str],
        out: Path,
        stem: str | None,
        *,
        contract: Contract,
        adapter: InputAdapter,
        target: Target,
    ) -> dict[str, Path]:
        """The files to make, after checks that need no process."""
        for name in schemes:
            if name not in SCHEMES:
                raise unknown("scheme", name, SCHEMES)
        refuse_other_schemes(schemes, target)
        if adapter.end and contract.task not in ("logits", "sigmoid", "multilabel"):
            raise InputError(
                f"The outputs are {contract.task}, not logits, so they need no softmax.", "Leave --softmax out."
            )
        paths = file_paths(schemes, out, self.stem if stem is None else stem, target)
        for path in paths.values():
            if path.exists() and path.samefile(self.path):
                raise InputError(f"{path} is the model itself, and would be overwritten.", "Name another folder.")
        return paths

    def call(self, function: Callable[[Any, Emit], None], job: Any) -> Iterator[Any]:
        """Call another function with a job in the TFLite process, which has the model open, and yield its reports.

        Raises:
            ModelFileError: The process died.
        """
        return self._processes.call(function, job)
