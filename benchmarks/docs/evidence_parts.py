"""The claims of `evidence.py`: what is claimed, the script that measures it, and what of its output is the figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import evidence_figures as figures
from evidence_figures import Document, Lines

CACHE = "{cache}"
"""Stands for the folder of caches in a command."""
REAL = "{real}"
"""Stands for the folder of real models and data in a command."""
MLPERF = tuple(
    f"{REAL}/models/mlperf_tiny/{name}.tflite"
    for name in ("kws_ref_model", "vww_96_int8", "pretrainedResnet_quant", "ad01_int8")
)
"""The integer-only files of MLPerf Tiny."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: What `--only` calls it.
        claim: What the README or the guides say.
        protocol: What is done, in a sentence or two.
        command: The script in `benchmarks/` and its options. Exit code 0 means that its limits were kept.
        minutes: How long it takes about, alone on two cores.
        timed: Whether it times, and so wants an idle machine.
        figure: The figure in words, from the JSON document that the script printed last and from its lines.
        rivals: Where another tool is better, from the same output; "" if nowhere, None if no rival is in it.
    """

    name: str
    claim: str
    protocol: str
    command: tuple[str, ...]
    minutes: int
    figure: Callable[[Document, Lines], str]
    rivals: Callable[[Document, Lines], str] | None = None
    timed: bool = False


CLAIMS = (
    Claim(
        "table",
        "A quantized file is smaller, faster and as accurate; the README's table shows it beside those of bare tools.",
        "EfficientNet-Lite0 fine-tuned on photos of waste (trashnet); our nine files and the int8 files of "
        "TFLiteConverter, litert-quantizer and ONNX Runtime from the same net, measured in one benchmark on 506 test "
        "photos. Needs the folder of real data.",
        ("docs/readme_table.py", "--data", f"{REAL}/data/trashnet", "--out", f"{CACHE}/table", "--print"),
        20,
        figures.compare_files,
        figures.better_files_of_rivals,
        timed=True,
    ),
    Claim(
        "accuracy",
        "Quantized files keep their accuracy, also of nets that plain int8 damages.",
        "Nine architectures on MNIST and sign digits, files made by others, and nets with damaging ranges; the drop "
        "of int8 files on whole test splits, beside those of bare tools. Needs the folder of real data.",
        ("accuracy/accuracy.py", "--out", f"{CACHE}/accuracy", "--only", "natural,hurt"),
        240,
        figures.kept_limits,
        figures.worse_than_rivals,
    ),
    Claim(
        "latency",
        "Latencies agree with the engines' own tools.",
        "LeNet and MobileNetV2, float32, one pinned CPU; rounds alternate between our timing and theirs in fresh "
        "processes. Holds if the median ratio is within 5 % of 1; `invoke` decides nothing.",
        ("speed/peer_tools.py", "--rounds", "10", "--files", f"{CACHE}/timing"),
        5,
        figures.latencies,
        timed=True,
    ),
    Claim(
        "proof",
        "`convert` accepts no file that loses 5 points of accuracy or more, and refuses at most 1 % of sound ones.",
        "A net of each of 12 kinds, drawn by a fresh seed, trained on digits of MNIST in random colors, and made hard "
        "for quantization; files of all schemes, and copies that were broken on purpose. A file is wrong if it loses "
        "at least 5 points of accuracy on 3,000 other images, and sound if nothing was changed in it and it loses at "
        "most 2. The files' answers are kept in the cache, and a later run judges them again. Needs the folder of real "
        "data.",
        ("proof/proof_table.py", "--real", REAL, "--cache", f"{CACHE}/proof", "--fresh", "50621", "--jobs", "1"),
        12,
        figures.verdicts,
    ),
    Claim(
        "intervals",
        "A drop has a 95 % confidence interval, and a file is called proven only if its upper end is within the limit.",
        "Synthetic outcomes of known truth for many numbers of test items and of items that differ.",
        ("proof/interval_coverage.py",),
        3,
        figures.coverage,
    ),
    Claim(
        "recommendation",
        "A recommended file loses less than the limit with at least the probability that was asked for.",
        "Simulated pairs of files with known drops near the limit; 200 to 500 test images are drawn again and again, "
        "and the rule sees only those. Holds if at most 10 % of recommended files are beyond the limit, and at least "
        "90 % have a product of size and latency within 1.1 times that of the best file (near). Power: about the share "
        "that the most powerful test of so few images would let be near.",
        ("proof/recommendation.py", "--simulated", "--draws", "200"),
        5,
        figures.totals,
    ),
    Claim(
        "gate",
        "The CI gate fails only on changes that the measurements establish.",
        "Synthetic results of known truth below, at and beyond the limit. Holds if at most 5 % of alarms are false.",
        ("proof/gate_power.py", "--trials", "100"),
        2,
        figures.alarms,
    ),
    Claim(
        "corrupted",
        "No damaged model file makes a command hang, crash or show a traceback.",
        "Copies of model files with flipped bits, cut off, or spliced go to `inspect`, `convert` and `predict`.",
        ("faults/corrupted_files.py", "--made-only", "--copies", "100", "--seeds", "1", "--jobs", "1"),
        8,
        figures.broken_promises,
    ),
    Claim(
        "serve",
        "The server on a board answers others while it is attacked, and its memory stays bounded.",
        "Malformed, oversized, slow, truncated and forged requests and extreme pictures, beside a client that must "
        "always be answered.",
        ("faults/serve_fuzz.py", "--requests", "300"),
        5,
        figures.broken_promises,
    ),
    Claim(
        "bundles",
        "`verify` refuses each tampered bundle.",
        "A signed bundle is changed in all the ways of the script, seeded; only one `BundleError` may come of it.",
        ("faults/tampered_bundles.py", "--count", "300"),
        3,
        figures.last_line,
    ),
    Claim(
        "updates",
        "An update that is interrupted at any point leaves a release that runs.",
        "`install.sh` is killed before its system calls that change something: all processes, and one alone.",
        ("faults/install_kills.py", "--only", "update,rollback", "--every", "4"),
        5,
        figures.last_line,
    ),
    Claim(
        "c-size",
        "The exported C needs less memory and flash and fewer instructions than TensorFlow Lite for Microcontrollers.",
        "The four integer-only files of MLPerf Tiny as C, on an emulated Cortex-M4 that counts instructions; beside "
        "TFLM's figures on the same core, which stand in the script with their date. Needs the folder of real models.",
        ("microcontrollers/c99.py", "sizes", *MLPERF),
        2,
        figures.exported_code,
        figures.exported_code_of_rivals,
    ),
    Claim(
        "c-answers",
        "The exported C answers what TensorFlow Lite for Microcontrollers answers, bit for bit.",
        "500 random items for each of the four files of MLPerf Tiny; the C, NumPy's model of it (200 of the items), "
        "and TFLM's wheel in a Python that `EDGEPRESS_TFLM_PYTHON` names. Needs the folder of real models.",
        ("microcontrollers/c99.py", "equal", "500", *MLPERF),
        15,
        figures.equal_answers,
    ),
    Claim(
        "promise",
        "The error that `calibrate` promises of accepted answers is exceeded in at most 5 % of cases.",
        "LeNet on turned and noisy digits as files of every scheme; 2,000 items are drawn 100 times, calibrate a "
        "threshold, and the true error over 8,000 items is compared with the promise. Beside it the usual choice, the "
        "laxest threshold whose error among the 2,000 items is within the limit. Needs the folder of real data.",
        ("proof/promises.py", "--real", REAL, "--cache", f"{CACHE}/promises", "--only", "lenet", "--draws", "100"),
        8,
        figures.promises,
    ),
    Claim(
        "drift",
        "`--drift` gives a false alarm in at most 1 % of streams, however often one looks.",
        "Streams of 10,000 items or frames of LeNet's `tflite-int8` without any change; frames come in scenes. Needs "
        "the folder of real data.",
        ("proof/drift.py", "--real", REAL, "--cache", f"{CACHE}/drift", "--streams", "300", "--videos", "60"),
        10,
        figures.false_alarms,
    ),
    Claim(
        "attacks",
        "A board installs nothing that an attacker on its way, with a stolen key or with a wrong clock offers.",
        "The attacks that The Update Framework names, stolen keys and clocks, on the real updater; what is refused "
        "must be refused for the right reason.",
        ("updates/attacks.py",),
        1,
        figures.last_line,
    ),
    Claim(
        "power-cuts",
        "A power cut during `run update` leaves the old or the new release, complete, and the next run goes on.",
        "The update is killed before its system calls that change something, in five scenarios; here before every "
        "seventeenth.",
        ("updates/power_cuts.py", "--every", "17"),
        4,
        figures.last_line,
    ),
    Claim(
        "mqtt",
        "No event that `watch --mqtt` calls queued is lost while the broker is down.",
        "mosquitto is killed at random moments while pictures arrive; a subscriber counts events.",
        ("faults/mqtt_kills.py", "--kills", "10"),
        2,
        figures.lost_events,
    ),
    Claim(
        "collection",
        "`--keep` stays within its quota and memory for a day, whatever interrupts it.",
        "A day of frames, 10 a second, replayed; the process is killed 40 times at random moments.",
        ("proof/collection.py",),
        8,
        figures.all_lines,
    ),
    Claim(
        "killed",
        "A killed command leaves no temporary folder once the next command has run.",
        "`convert`, `train`, `benchmark` and `sweep` are killed with SIGKILL at random moments.",
        ("faults/killed_commands.py", "--kills", "8", "--longest", "12", "--seed", "1"),
        5,
        figures.last_line,
    ),
    Claim(
        "runtime-memory",
        "The runtime needs numpy and one interpreter, and little memory beside them.",
        "Peak resident memory of `classify` and of a bare script with the same steps, LeNet int8, fresh processes.",
        ("memory/runtime_memory.py", "--rounds", "5"),
        1,
        figures.memory_of_runtime,
    ),
    Claim(
        "conversion-memory",
        "A conversion holds few copies of the model's weights.",
        "Peak resident memory of one float file less that of importing TensorFlow, beside the bare calls of "
        "TFLiteConverter and tf2onnx.",
        ("memory/conversion_memory.py", "--rounds", "1", "--model", "ResNet50"),
        4,
        figures.copies_of_weights,
        figures.copies_of_rivals,
    ),
    Claim(
        "page",
        "The report is one small page that opens at once and that everybody can read.",
        "Made-up results of nine files on three engines in headless Chromium. Holds below 1 MB, below 1 s, and without "
        "a serious finding of axe-core in light or dark.",
        ("pages/report_page.py", "--rounds", "5"),
        1,
        figures.size_of_page,
        timed=True,
    ),
)
ELSEWHERE = (
    (
        "Real boards",
        "Arm's model cards give times of a Raspberry Pi 5 (ExecuTorch with XNNPACK), MLPerf Tiny those of "
        "microcontrollers. No figure of edgepress was measured on a real board.",
    ),
    (
        "ImageNet",
        "MQBench, AIMET, NNCF, Intel's Neural Compressor and TI's model zoo publish drops of int8 and 4-bit files on "
        "ImageNet. Its data were not at hand; drops here are of smaller data sets.",
    ),
    (
        "Microcontrollers",
        "Edge Impulse, STMicroelectronics and Silicon Labs measure on real microcontrollers and use their "
        "accelerators. edgepress' C ran on emulated processors alone and uses no accelerator.",
    ),
    (
        "Other engines",
        "Ultralytics' guide for the Raspberry Pi finds OpenVINO and ncnn faster than ONNX Runtime and TFLite for a "
        "detector. edgepress measures OpenVINO, but makes no files for ncnn or MNN.",
    ),
    (
        "Devices by serial line or in a cloud",
        "Silicon Labs' mltk, ST's model zoo services, Edge Impulse and Arm's AI Model Optimizer measure on devices "
        "that they reach; edgepress reaches Linux boards by ssh alone.",
    ),
)
"""Where others are better, by what they publish; nothing of it was measured here."""
