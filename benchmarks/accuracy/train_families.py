"""Train nets of timm on CIFAR-10 and write them as ONNX files, for `families.py`.

    python -m venv torch && torch/bin/pip install torch timm onnx onnxscript pillow
    torch/bin/python benchmarks/accuracy/train_families.py CIFAR --data cifar64.npz --out FOLDER
        [--nets mobilenetv4_conv_small,...] [--items 8000] [--epochs 6]

An environment of its own: edgepress does not need torch. CIFAR is a folder `train/CLASS/*.jpg`, `test/CLASS/*.jpg`
(CIFAR-10-images on GitHub). 10,000 training and all test images, enlarged to 64 x 64, become the `.npz`; each net is
trained from nothing on `--items` of them with AdamW, one learning rate cycle, flips and shifts, as on small data. It is
written by torch's older exporter (NET.onnx) and by its newer one (NET_dynamo.onnx).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import timm  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from PIL import Image
from timm.utils.model import reparameterize_model  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

NETS = (
    "mobilenetv4_conv_small",
    "tf_efficientnetv2_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "repvgg_a0",
    "mobilevit_xxs",
)
SIDE = 64
BATCH = 64
SHIFT = 6
TRAINING = 10_000
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def main() -> None:
    """Write the data once, then train and write each net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--items", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    if not args.data.exists():
        write_data(args.cifar, args.data)
    data = dict(np.load(args.data))
    for name in args.nets.split(","):
        torch.manual_seed(0)
        net = make(name)
        fit(net, data["x_train"][: args.items], data["y_train"][: args.items], args.epochs)
        net = reparameterize_model(net.eval())
        print(f"{name}: {100 * accuracy(net, data['x_test'], data['y_test']):.2f} % of test images", flush=True)
        write(net, args.out, name)


def write_data(cifar: Path, path: Path) -> None:
    """Write an `.npz` of both parts, each in random order with as many images of each class."""
    draw = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        images, classes = [], []
        for number, folder in enumerate(sorted((cifar / part).iterdir())):
            files = sorted(folder.iterdir())
            for place in draw.permutation(len(files))[: TRAINING // 10]:
                picture = Image.open(files[place]).convert("RGB")
                images.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
                classes.append(number)
        order = draw.permutation(len(images))
        arrays |= {f"x_{part}": np.stack(images)[order], f"y_{part}": np.array(classes)[order]}
    np.savez(path, **arrays)


def make(name: str) -> Any:
    """A net of ten classes without trained weights; a plain vision transformer gets patches of 8 pixels."""
    sizes = {"img_size": SIDE, "patch_size": 8} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=10, pretrained=False, **sizes)


def normalized(images: Any) -> Any:
    """Images, uint8 (N, h, w, 3), as ImageNet's nets take them, (N, 3, h, w)."""
    return (torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def fit(net: Any, images: Any, classes: Any, epochs: int) -> None:
    """Train in place."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1.5e-3, weight_decay=0.05)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.5e-3, total_steps=steps)
    targets = torch.as_tensor(classes)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            batch = functional.pad(normalized(images[rows.numpy()]), (SHIFT,) * 4, mode="reflect")
            top, left = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
            batch = batch[:, :, top : top + SIDE, left : left + SIDE]
            if torch.rand(1) < 0.5:
                batch = batch.flip(3)
            loss = functional.cross_entropy(net(batch), targets[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(net: Any, images: Any, classes: Any) -> float:
    """Share of right answers."""
    parts = [net(normalized(images[start : start + 250])).argmax(1).numpy() for start in range(0, len(images), 250)]
    return float(np.mean(np.concatenate(parts) == classes))


def write(net: Any, folder: Path, name: str) -> None:
    """Write both ONNX files."""
    item = torch.zeros(1, 3, SIDE, SIDE)
    free = {"image": {0: "n"}, "logits": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(net, (item,), folder / f"{name}.onnx", dynamo=False, opset_version=17, dynamic_axes=free, **names)
    torch.onnx.export(net, (item,), folder / f"{name}_dynamo.onnx", dynamo=True, external_data=False, **names)


if __name__ == "__main__":
    main()
