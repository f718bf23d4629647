"""The pairs of a net and data of `recommendation.py`: real ones, made and answered once, and simulated ones."""

from __future__ import annotations

import dataclasses
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

import accuracy_data

NETS = {"dense": 8, "lenet": 6, "mobilenet-v1": 24, "ds-cnn": 5, "resnet8": 4}
"""Architectures, and the epochs that each is trained for."""
DATA = ("mnist", "noisy", "dim", "signs")
TRAIN = 2000
"""Training items of the data that are made here."""
TEST = 8000
"""Their test items."""
SIDE = 28
"""Height and width of their images, pixels."""
SCHEMES = "tflite-float32,tflite-float16,tflite-dynamic,tflite-int8,tflite-int4"
LATENCY = {"tflite-float16": 1.0, "tflite-dynamic": 0.9, "tflite-int8": 0.65, "tflite-int4": 0.7}
"""Latencies relative to the float file, as of nets that are large enough to gain (docs/speed.md): what is compared are
rules, so each net gets the same, and no timing disturbs the figures."""
TARGETS = (0.006, 0.009, 0.012, 0.016, 0.025)
"""True drops that damaged files are to have, about."""
LEVELS = np.geomspace(0.01, 0.6, 14)
"""Noise on weights, relative to their standard deviation."""
SOUND = 0.004
"""True drop up to which a file is not near the limit."""
CLOTHING_SIDE = 64
"""Side of the images that the net for clothing sees, pixels."""
CLOTHING_EPOCHS = 24
"""Its passes over them."""
CASES = 20
"""Simulated pairs."""
SIMULATED_ITEMS = 20_000
"""Items of each."""

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A net on data: for each file its name, size and latency relative to the float file, and classes of all items.

    `scores` are the float file's, float32, shape (items, labels).
    """

    name: str
    y: Ints
    files: tuple[str, ...]
    costs: npt.NDArray[np.float64]
    predicted: Ints
    scores: npt.NDArray[np.float32]


def made(name: str, real: Path, folder: Path) -> Pair:
    """A pair from the cache, or made."""
    path = folder / f"{name.replace(' ', '-')}.npz"
    if not path.exists():
        net, data = name.split()
        found = _made(net, data_file(data, real, folder), folder / f"run-{net}-{data}")
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **found)
        temporary.rename(path)
    with np.load(path) as kept:
        files, costs = tuple(kept["files"].tolist()), kept["costs"]
        first = len(files) - sum(each.startswith("damaged") for each in files)
        return tempting(Pair(name, kept["y"], files, costs[:first], kept["predicted"], kept["scores"]))


def tempting(pair: Pair) -> Pair:
    """The pair with costs of its last files, the damaged ones: a little smaller and faster than the best sound file."""
    right = (pair.predicted == pair.y).mean(axis=1)
    sound = [n for n in range(len(pair.costs)) if right[0] - right[n] <= SOUND]
    best = min(sound, key=lambda n: float(pair.costs[n].prod()))
    damaged = [pair.costs[best] * (0.99 - 0.01 * n) for n in range(len(pair.files) - len(pair.costs))]
    return dataclasses.replace(pair, costs=np.concatenate([pair.costs, np.reshape(damaged, (-1, 2))]))


def _made(net: str, data: Path, run: Path) -> dict[str, Any]:
    """Train, convert, and answer all items with the files and with damaged nets."""
    from edgepress.converters.sources.keras import load_keras
    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.data.for_model import contract_of, data_for
    from edgepress.toolkit.measurement.benchmarking.answers import Answers
    from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
    from edgepress.toolkit.training.loop import train
    from edgepress.toolkit.workers.opening import Candidate

    trained = train(str(data), net, out=run, epochs=NETS[net], augmentation="none", resume=True, progress=False)
    variants = [v for v in convert(trained.model, SCHEMES, repairs=False, verify=False) if v.path is not None]
    opened, _ = data_for(contract_of(trained.model), str(data), where=trained.model)
    found = collect_answers([Candidate(v.path, "litert") for v in variants if v.path], opened)
    answers = [a.predicted for a in found if isinstance(a, Answers)]
    sizes = np.array([float(v.size_bytes or 0) for v in variants])
    costs = [(size / sizes[0], LATENCY.get(v.scheme, 1.0)) for size, v in zip(sizes, variants, strict=True)]
    names = [v.scheme for v in variants]
    x, y = opened.test.read(slice(None)), opened.test.y
    model = load_keras(trained.model)
    scores = np.asarray(model.predict(x, batch_size=500, verbose=0), np.float32)
    for n, predicted in enumerate(damaged(model, x, y, answers[0])):  # their costs: `tempting`
        names.append(f"damaged-{n}")
        answers.append(predicted)
    return {"y": y, "files": names, "costs": np.array(costs), "predicted": np.array(answers), "scores": scores}


def clothing(real: Path, folder: Path) -> Any:
    """The benchmark of a MobileNetV2 on few clothing photos, by the rule and with the options of users."""
    from PIL import Image

    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark
    from edgepress.toolkit.training.loop import train

    path = folder / "clothing.npz"
    if not path.exists():
        sprite = np.asarray(Image.open(real / "data/fashion/fashion-mnist-sprite.png").convert("L"))
        rows, columns = (side // SIDE for side in sprite.shape)
        x = sprite[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2)
        labels = gzip.decompress((real / "data/fashion/t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
        x, y = x.reshape(-1, SIDE, SIDE, 1), np.frombuffer(labels, np.uint8)[: rows * columns].astype(np.int64)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"x_train": x[:460], "x_val": x[460:528], "x_test": x[528:]}
        parts |= {"y_train": y[:460], "y_val": y[460:528], "y_test": y[528:]}
        np.savez(path, labels=list("0123456789"), **parts)
    data = open_data(path, size=CLOTHING_SIDE)
    run = train(data, "mobilenet-v2", out=folder / "run-clothing", epochs=CLOTHING_EPOCHS, resume=True, progress=False)
    convert(run.model, "all")
    return benchmark(run.model.parent / "variants", options=BenchmarkOptions(engine="litert,onnxruntime"))


def damaged(model: Any, x: npt.NDArray[Any], y: Ints, reference: Ints) -> list[Ints]:
    """Classes of the net with noise on its weights whose drops are nearest to `TARGETS`."""
    weights = model.get_weights()
    rng = np.random.default_rng(1)
    noise = [rng.standard_normal(w.shape) * np.std(w) for w in weights]
    noisy = [w.ndim > 1 and min(w.shape) > 0 for w in weights]
    found = []
    for level in LEVELS:
        model.set_weights([w + level * e if n else w for w, e, n in zip(weights, noise, noisy, strict=True)])
        found.append(np.asarray(model.predict(x, batch_size=500, verbose=0)).argmax(axis=1).astype(np.int64))
    drops = np.array([(reference == y).mean() - (p == y).mean() for p in found])
    chosen = dict.fromkeys(int(np.argmin(np.abs(drops - target))) for target in TARGETS)
    return [found[n] for n in sorted(chosen, key=lambda n: drops[n])]


def data_file(name: str, real: Path, folder: Path) -> Path:
    """The data as an .npz: few training items, so that nets are not perfect, and many test items."""
    path = folder / f"{name}.npz"
    if path.exists():
        return path
    if name == "signs":
        return accuracy_data.data_file("few-32", folder, real=real / "data")
    rng = np.random.default_rng(11)
    parts = {}
    for split, source in (("train", "train"), ("test", "t10k")):
        pixels = gzip.decompress((real / "data/mnist" / f"{source}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((real / "data/mnist" / f"{source}-labels-idx1-ubyte.gz").read_bytes())[8:]
        y = np.frombuffer(labels, np.uint8).astype(np.int64)
        x = np.frombuffer(pixels, np.uint8).reshape(len(y), SIDE, SIDE)
        rows = rng.permutation(len(y))[: TEST if split == "test" else TRAIN + 400]
        parts[split] = spoilt(name, x[rows], rng)[..., None], y[rows]
    (x, y), (x_test, y_test) = parts["train"], parts["test"]
    folder.mkdir(parents=True, exist_ok=True)
    labelled = {"x_train": x[400:], "y_train": y[400:], "x_val": x[:400], "y_val": y[:400]}
    np.savez(path, x_test=x_test, y_test=y_test, labels=list("0123456789"), **labelled)
    return path


def spoilt(name: str, x: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Images as they are, turned and noisy, or dim and blurred."""
    from scipy.ndimage import rotate, uniform_filter

    if name == "mnist":
        return x
    if name == "noisy":
        angles = rng.uniform(-30, 30, len(x))
        turned = [rotate(image, angle, reshape=False, order=1) for image, angle in zip(x, angles, strict=True)]
        return np.clip(0.7 * np.array(turned) + rng.normal(30, 30, x.shape), 0, 255).astype(np.uint8)
    blurred = uniform_filter(x.astype(np.float64), (0, 3, 3))
    return np.clip(0.4 * blurred + rng.normal(60, 10, x.shape), 0, 255).astype(np.uint8)


def simulated(case: int) -> Pair:
    """A pair from a model of how files come to differ: each adds noise to the margin between right and wrong.

    The margin of an item is that of the true class over the best other one, in units of its spread; an item is right if
    it is above 0. A file's noise is small where the file is good; that of a damaged one makes it lose a target. The
    scores are the probabilities of a net that knows the margins' distribution. Accuracies are 75 to 99.5 %.
    """
    from scipy.stats import t

    rng = np.random.default_rng(100 + case)
    accuracy = 1 - np.geomspace(0.005, 0.25, CASES)[case]
    margins = rng.standard_t(5, SIMULATED_ITEMS)
    shift = np.quantile(margins, 1 - accuracy)
    margins -= shift
    noise = np.exp(rng.uniform(np.log(0.003), np.log(0.03)))
    files = {"float16": 0.0, "dynamic": 0.5 * noise, "int8": noise, "int4": 6 * noise}
    noisy = [margins] + [margins + s * rng.standard_normal(len(margins)) for s in files.values()]
    noisy += [_noisy(margins, max(0.01, accuracy - target), rng) for target in TARGETS]
    damaged = [f"damaged-{n}" for n in range(len(TARGETS))]
    costs = [(1.0, 1.0), (0.5, 1.0), (0.27, 0.9), (0.27, 0.65), (0.15, 0.7)]
    y = np.ones(len(margins), np.int64)
    predicted = np.array([(m > 0).astype(np.int64) for m in noisy])
    as_right, as_wrong = t(5).pdf(shift + margins), t(5).pdf(shift - margins)
    right = as_right / (as_right + as_wrong)
    scores = np.stack([1 - right, right], axis=1).astype(np.float32)
    return tempting(Pair(f"simulated {case}", y, ("float32", *files, *damaged), np.array(costs), predicted, scores))


def _noisy(margins: npt.NDArray[np.float64], accuracy: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Margins with the noise that leaves an accuracy."""
    noise, low, high = rng.standard_normal(len(margins)), 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (margins + middle * noise > 0).mean() > accuracy else (low, middle)
    return margins + high * noise
