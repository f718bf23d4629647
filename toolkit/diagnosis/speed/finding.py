"""What stands out in a profile: one function for each kind of finding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.sessions import products_saturate
from edgepress.runtime.system import FLAGS, cpu_info
from edgepress.toolkit.diagnosis.profiling.profile import Profile
from edgepress.toolkit.diagnosis.speed import causes
from edgepress.toolkit.diagnosis.speed.about import LARGE, SMALL, About
from edgepress.toolkit.diagnosis.speed.causes import Cause
from edgepress.toolkit.diagnosis.speed.diagnosis import CONVERSION, DEPTHWISE, PRODUCT, SortedKernel, reached_share
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.text import percent, plural, size

LEAST_SHARE = 0.03
"""Share of the time below which nothing is reported: too small to matter."""
FAR = 0.25
"""Share of this CPU's reach below which a kernel is far from it."""
WAITING = 0.5
"""Share of a kernel's time that reading its weights from memory explains, from which it waits for them."""
ROUNDING_US = 1.0
"""Largest time that engines round off the reported time of each kernel, microseconds."""
CALL_US = 200.0
"""Largest time that engines take for the call itself, outside of the kernels, microseconds."""
CALL_SHARE = 0.3
"""Share of the time outside of kernels from which the call itself is a finding."""


@dataclass(frozen=True)
class Case:
    """A file on an engine, as the functions here look at it.

    Attributes:
        profile: Its profile.
        kernels: The kernels of the profile, sorted.
        about: The file.
        lacking: What this CPU lacks of the instructions that int8 kernels use.
    """

    profile: Profile
    kernels: Sequence[SortedKernel]
    about: About
    lacking: Sequence[causes.Instructions] = ()

    @property
    def kernels_us(self) -> float:
        """The time of all kernels, microseconds."""
        return sum(k.time_us for k in self.kernels)

    @property
    def rest_us(self) -> float:
        """Time of an inference that no kernel accounts for, microseconds, as far as the engine can have taken it."""
        left = round(self.profile.total_us - self.kernels_us, 3)  # sums of floats differ by less
        return max(min(left, len(self.kernels) * ROUNDING_US + CALL_US), 0.0)

    @property
    def whole_us(self) -> float:
        """The time that shares are relative to: of an inference, or of all kernels where tracing has slowed them."""
        return self.kernels_us + self.rest_us or 1.0

    @property
    def disturbed_us(self) -> float:
        """Time of an inference that only other programs can have taken, microseconds."""
        return max(self.profile.total_us - self.whole_us, 0.0)

    def finding(self, kind: str, text: str, kernels: Sequence[SortedKernel], cause: Cause | None = None) -> Finding:
        """A finding about some kernels, with the fix that its cause has for this file."""
        time_us = sum(k.time_us for k in kernels)
        share = time_us / self.whole_us
        ground = self.profile.method
        result = Finding(kind=kind, text=text, time_us=time_us, share=share, count=len(kernels), ground=ground)
        return result if cause is None else _finding_with_fix(result, cause, self.about)


def findings(case: Case) -> list[Finding]:
    """Everything that stands out, that with the largest share of the time first."""
    results = [one for look in _LOOKS for one in look(case) if one.share >= LEAST_SHARE]
    return sorted(results, key=lambda one: -one.share)


def _finding_with_fix(result: Finding, cause: Cause, about: About) -> Finding:
    """A finding with its cause's ground, and its fix if the file can have that."""
    result = replace(result, ground=cause.ground)
    again = "converting again" if about.ours else "converting the float model with edgepress"
    if (row := about.lacks(cause.rewrites)) is not None:
        target = "" if about.target in row.targets else row.targets[0]
        only = f" for the target {target}, not {about.target}," if target else ""
        fix = f"{again}{only} makes them {cause.then}"
        return replace(result, fix=fix, rewrite=row.name, command=about.command(target=target or about.target))
    if not cause.scheme or (cause.scheme == about.scheme and about.ours):
        return result
    return replace(
        result,
        fix=f"{again} to {cause.scheme} makes them {cause.then}",
        scheme=cause.scheme,
        command=about.command(cause.scheme),
    )


_Key = tuple[str, ...]


def _group(
    kernels: Iterable[SortedKernel], key: Callable[[SortedKernel], _Key]
) -> Iterator[tuple[_Key, list[SortedKernel]]]:
    groups: dict[_Key, list[SortedKernel]] = defaultdict(list)
    for kernel in kernels:
        groups[key(kernel)].append(kernel)
    yield from groups.items()


def _not_delegated(case: Case) -> Iterator[Finding]:
    """Operations that XNNPACK leaves to LiteRT's own kernels."""
    if case.profile.delegated_share is None:
        return
    left = [k for k in case.kernels if not k.node.delegated and k.sort != CONVERSION]

    def cause_of(kernel: SortedKernel) -> Cause | None:
        mark = case.about.marks.get(kernel.node.name, "")
        return causes.not_delegated(kernel.node.operation, kernel.node.computes_in, mark)

    def alike(kernel: SortedKernel) -> _Key:
        cause = cause_of(kernel)
        kind = "" if cause and not cause.operations else kernel.node.operation
        return kind, kernel.node.computes_in, cause.why if cause else ""

    for (_, computes_in, _), kernels in _group(left, alike):
        cause = cause_of(kernels[0])
        why = cause.why if cause else f"does not take{_name_type(computes_in)}"
        typed = _name_type(computes_in) if cause and computes_in in ("int8", "uint8") else ""
        yield case.finding("not delegated", f"{_list_kinds(kernels)}{typed} that XNNPACK {why}", kernels, cause)


def _list_kinds(kernels: Iterable[SortedKernel]) -> str:
    """Kinds of operations with their numbers, the most frequent first: "48 RELU, 2 PAD"."""
    counts = Counter(k.node.operation for k in kernels)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def _products_in_float(case: Case) -> list[SortedKernel]:
    """Products that compute in float in a file of integers, on an engine without delegates."""
    if not SCHEMES[case.about.scheme].calibrated or case.profile.delegated_share is not None:
        return []
    return [k for k in case.kernels if k.sort in (PRODUCT, DEPTHWISE) and k.arithmetic == "float32"]


def _float(case: Case) -> Iterator[Finding]:
    """Products that compute in float in a file of integers."""
    if floats := _products_in_float(case):
        products = sum(k.sort in (PRODUCT, DEPTHWISE) for k in case.kernels)
        text = f"{len(floats)} of {products} convolutions and dense layers, which stay in float in this integer file"
        if case.profile.engine == "openvino" and cpu_info(FLAGS) and products_saturate():
            text += ", because OpenVINO's products of 8 bits saturate on a CPU without VNNI"
        yield case.finding("float", text, floats, _of_signed(case))


def _of_signed(case: Case) -> Cause | None:
    """The cause of float products and their conversions in a file with signed activations on ONNX Runtime."""
    return causes.LEFT_IN_FLOAT if case.profile.engine == "onnxruntime" and case.about.signed else None


def _conversions(case: Case) -> Iterator[Finding]:
    """Kernels that change only types or layouts."""
    conversions = [k for k in case.kernels if k.sort == CONVERSION]
    left = [k for k in conversions if k.node.operation == "QUANTIZE" and not k.node.delegated]
    if case.profile.delegated_share is not None and left:
        text = f"{len(left)} QUANTIZE that XNNPACK {causes.ENDS.why}"
        yield case.finding("conversion", text, left, causes.ENDS)
        conversions = [k for k in conversions if k not in left]
    running = any(k.node.kernel == causes.CONV_INTEGER for k in case.kernels)
    cause = _of_dynamic(case) if running else None
    if _products_in_float(case):
        cause = _of_signed(case)
    yield case.finding(
        "conversion", f"conversions of types and layouts: {_list_kinds(conversions)}", conversions, cause
    )


def _of_dynamic(case: Case) -> Cause:
    """What fixes convolutions that ONNX Runtime quantizes while they run: a rewrite, else another scheme."""
    return causes.DYNAMIC_CONVOLUTION if case.about.lacks(causes.DYNAMIC_CONVOLUTION.rewrites) else causes.DYNAMIC


def _slow_kernels(case: Case) -> Iterator[Finding]:
    """Kernels far below what this CPU reaches, and kernels that wait for their weights."""
    delegates = case.profile.delegated_share is not None  # what no delegate took is reported above,
    integers = SCHEMES[case.about.scheme].calibrated  # and so is what computes in float in a file of integers
    rated = [
        k
        for k in case.kernels
        if k.share_of_reach is not None
        if k.node.delegated or (not delegates and not (integers and k.arithmetic == "float32"))
    ]
    slow = [k for k in rated if (k.share_of_reach or 0.0) < FAR]
    reading = [k for k in rated if k.computing_us < FAR * k.least_us and k.reading_us > WAITING * k.least_us]
    text = f"waiting for the weights of {plural(len(reading), 'layer')}, {size(_bytes(reading))}"
    yield case.finding("memory", text, reading, causes.WEIGHTS.get(case.about.scheme))
    for (operation, arithmetic, computes_in, mark), kernels in _group(slow, partial(_alike, case.about)):
        cause = None
        if mark == LARGE and delegates:
            cause = causes.LARGE_KERNEL
        elif mark == SMALL and delegates and computes_in == "dynamic":
            cause = causes.SMALL_PRODUCT
        elif delegates and computes_in == "uint8" and not case.lacking:
            cause = causes.UNSIGNED
        elif operation == causes.CONV_INTEGER:
            cause = _of_dynamic(case)
        why = f", because {cause.why}" if cause and cause.why else ""
        share = percent(reached_share(kernels), ".0f")
        text = f"{len(kernels)} {operation} in {arithmetic} at {share} of what this CPU reaches in such work{why}"
        yield case.finding("slow kernel", text, kernels, cause)


def _alike(about: About, kernel: SortedKernel) -> _Key:
    return kernel.node.operation, kernel.arithmetic, kernel.node.computes_in, about.marks.get(kernel.node.name, "")


def _bytes(kernels: Iterable[SortedKernel]) -> int:
    return sum(k.node.weight_bytes or 0 for k in kernels)


def _instructions(case: Case) -> Iterator[Finding]:
    """Instructions that integer kernels would use and this CPU lacks."""
    if case.profile.engine not in causes.ENGINES:
        return
    integer = [k for k in case.kernels if k.sort in (PRODUCT, DEPTHWISE) and k.arithmetic == "int8"]
    for one in case.lacking if integer else ():
        text = f"{len(integer)} integer kernels without {one.name}, which this CPU lacks: {one.without}"
        yield case.finding("instructions", text, integer, Cause((), (), "", ground=causes.GROUND))
        return  # a CPU without the first lacks the others, too


def _call(case: Case) -> Iterator[Finding]:
    """Time that no kernel accounts for."""
    share = case.rest_us / case.whole_us
    if share >= CALL_SHARE:
        text = "the call itself and kernels shorter than the profiler's microsecond"
        yield Finding(kind="call", text=text, time_us=case.rest_us, share=share, ground=case.profile.method)


def _name_type(computes_in: str) -> str:
    plain = {"dynamic": " with 8-bit weights", "other": "", "conversion": "", "constant": "", "": ""}
    return plain.get(computes_in, f" in {computes_in}")


_LOOKS = (_not_delegated, _float, _conversions, _slow_kernels, _instructions, _call)
