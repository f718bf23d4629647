"""The table of commands. To add one, write a module of its name in this folder and add a row to `COMMANDS`.

The module holds a function of the same name (options as parameters, help as its docstring), or, for a group, a Typer
application named `app`. It is imported when the command runs. Options of the commands in `READS` can stand in
edgepress.toml without further code; one without a default needs an example in `template.EXAMPLES`, and each a row in
`found_files.TABLE`.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """A row of the table.

    Attributes:
        panel: The heading below which `--help` lists it.
        help: What the command does: the first line of its own help (tested).
        example: A command line.
    """

    panel: str
    help: str
    example: str


COMMANDS = {
    "demo": Command(
        "Train and convert",
        "Train, convert, benchmark and predict on a built-in data set: offline, in under a minute.",
        "edgepress demo --out my-demo",
    ),
    "init": Command(
        "Train and convert",
        "Look at a folder, ask for data, board and limits, and write edgepress.toml, which other commands read.",
        "edgepress init --data photos/ --max-size 200kB",
    ),
    "train": Command(
        "Train and convert",
        "Train a classifier; writes model.keras, its metrics and plots to a folder.",
        "edgepress train --data photos/ --out runs/photos",
    ),
    "convert": Command(
        "Train and convert",
        "Convert any Keras, TFLite or ONNX classifier to quantized files, each verified against the source model.",
        "edgepress convert runs/photos/model.keras --to tflite-int8,onnx-int8",
    ),
    "tune": Command(
        "Train and convert",
        "Quantization-aware training of a model of any format; then run convert.",
        "edgepress tune runs/photos/model.keras --bits 4 --minutes 10",
    ),
    "compress": Command(
        "Train and convert",
        "Find the cheapest way to make a file that meets your limits; exits with 3 if there is none.",
        "edgepress compress runs/photos/model.keras --max-size 200kB --max-latency 5ms",
    ),
    "prune": Command(
        "Train and convert",
        "Prune channels of a model of any format, then distil; convert makes the files.",
        "edgepress prune runs/photos/model.keras --macs 50% --minutes 10",
    ),
    "sweep": Command(
        "Train and convert",
        "Train, convert and time all combinations of architectures, sizes, seeds, schemes and others; shows the best.",
        "edgepress sweep --data photos/ --arch mobilenet-v2,resnet8 --size 64,96",
    ),
    "evaluate": Command(
        "Measure and compare",
        "Measure accuracy, precision, recall, F1, calibration error and confusion of one file on the test split.",
        "edgepress evaluate runs/photos/model.keras",
    ),
    "benchmark": Command(
        "Measure and compare",
        "Measure size, latency and accuracy of files side by side, and recommend which one to ship.",
        "edgepress benchmark runs/photos/variants --max-drop 1",
    ),
    "calibrate": Command(
        "Measure and compare",
        "Calibrate probabilities, and reject uncertain answers, with a promise that is measured on the test split.",
        "edgepress calibrate runs/photos/variants/model-int8.tflite --max-error 2%",
    ),
    "profile": Command(
        "Measure and compare",
        "Show where the time of one inference goes: by operation, by layer, and how much the delegate takes.",
        "edgepress profile model-int8.tflite --plot layers.svg",
    ),
    "diagnose": Command(
        "Measure and compare",
        "Say why files are slow and how to fix it; or, with --data, which layers make a file inaccurate.",
        "edgepress diagnose runs/photos/variants/*.tflite",
    ),
    "inspect": Command(
        "Measure and compare",
        "Show what a model file holds: interface, operations, memory, sizes, and the oldest engines that run it.",
        "edgepress inspect model-int8.tflite",
    ),
    "report": Command(
        "Measure and compare",
        "Write results as one self-contained web page, a Markdown table, or a model card.",
        "edgepress report runs/photos/variants --format md",
    ),
    "compare": Command(
        "Measure and compare",
        "Show what changed between two results or two model files, and check limits: a gate for CI.",
        "edgepress compare old/benchmark.json new/benchmark.json --fail-if 'drop>0.5'",
    ),
    "predict": Command(
        "Use and improve",
        "Classify images with one file and print the classes with their scores.",
        "edgepress predict model-int8.tflite photos/cat.jpg --top 1",
    ),
    "play": Command(
        "Use and improve",
        "Open a page on this machine that shows what files answer to your photos or sounds, until Ctrl-C.",
        "edgepress play runs/photos/variants",
    ),
    "label": Command(
        "Use and improve",
        "Open a page on this machine to label pictures or sounds with the keyboard, until Ctrl-C; then run improve.",
        "edgepress label collected/raspberrypi-local",
    ),
    "improve": Command(
        "Use and improve",
        "Train a model on with new pictures beside old ones, prove the gain on held-out items, convert, calibrate.",
        "edgepress improve runs/photos --new collected/raspberrypi-local",
    ),
    "annotate": Command(
        "Use and improve",
        "Write labels, input and meaning of a classifier made elsewhere into a copy, for every command and board.",
        "edgepress annotate published.tflite --input-range -1,1 --out model.tflite",
    ),
    "bundle": Command(
        "Ship",
        "Pack a model, the runtime, samples, an installer and pinned packages into one file for a board.",
        "edgepress bundle model-int8.tflite --board pi64-py313",
    ),
    "export": Command(
        "Ship",
        "Write a file as C99 for a microcontroller, for firmware with TensorFlow Lite Micro or ESPHome, or as a page.",
        "edgepress export model-int8-integer-only.tflite --board pico2 --out model-c99",
    ),
    "verify": Command(
        "Ship",
        "Check that a bundle is complete, unchanged and, with --key, signed; nothing is unpacked.",
        "edgepress verify model-int8.zip --key sender.pub",
    ),
    "publish": Command(
        "Ship",
        "Publish bundles in a folder from which boards take their updates.",
        "edgepress publish model-int8.zip --to site --keys keys --share 10%",
    ),
    "board": Command(
        "Ship",
        "Describe boards, measure files on them, and install bundles, over ssh.",
        "edgepress board bench pi@raspberrypi.local runs/photos/variants",
    ),
    "engine": Command(
        "This machine",
        "Manage engines that are installed in separate environments.",
        "edgepress engine add openvino",
    ),
    "doctor": Command(
        "This machine",
        "Check this machine: Python, memory, CPU extensions, whether each engine runs, and what is missing.",
        "edgepress doctor",
    ),
}
"""Each command, by the name of its module in this folder; in the order of `--help`, panel by panel."""
NAME = "edgepress.toml"
"""Name of the file of options."""
READS = (
    *("train", "evaluate", "convert", "tune", "compress", "prune", "sweep"),
    *("benchmark", "report", "compare", "bundle"),
)
"""The commands that read the file of options."""

PARTS = {
    "board info": "edgepress board info pi@kitchen.local",
    "board bench": "edgepress board bench pi@kitchen.local runs/photos/variants",
    "board collect": "edgepress board collect pi@kitchen.local --folder kept",
    "board push": "edgepress board push pi@kitchen.local app.zip",
    "board fleet": "edgepress board fleet boards.txt app.zip",
    "publish init": "edgepress publish init --to site --keys keys",
    "publish add": "edgepress publish add app.zip --to site --keys keys",
    "publish rotate": "edgepress publish rotate --role targets --to site --keys keys",
    "publish withdraw": "edgepress publish withdraw app 3 --to site --keys keys",
    "publish renew": "edgepress publish renew --to site --keys keys",
    "publish check": "edgepress publish check --to site --keys keys",
    "publish trust": "edgepress publish trust app.zip --to site --keys keys",
    "engine list": "edgepress engine list",
    "engine add": "edgepress engine add openvino",
    "engine remove": "edgepress engine remove openvino",
}
"""Examples of the commands of groups."""
