"""The page, the module and the package around a model that is compiled to WebAssembly.

The scripts share their parts: files/wasm/core.js calls the model, and `edgepress.runtime`'s page.js prepares pictures
and makes rows of the table. Texts of strangers are JSON in scripts, without `<`, and escaped in HTML.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import edgepress
from edgepress import runtime
from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract
from edgepress.runtime.text import one_line
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.shipping.exporting.c99 import library_name
from edgepress.toolkit.shipping.exporting.folder import FILES, TensorPort, fill, input_text, output_text
from edgepress.toolkit.shipping.exporting.job import ExportJob
from edgepress.toolkit.shipping.exporting.vectors import Vectors, quantization_of
from edgepress.toolkit.text import size

SAME_ANSWERS = "tflite-micro"
"""The engine whose answers are those of the exported C: what `calibrate` promises with it holds for a page."""
_PICTURE = """\
const answer = model.classify({ data, width, height }); // such as ImageData: red, green, blue, alpha of each pixel"""
_VALUES = """\
const answer = model.classify(values); // an array of real values"""


class Parts(NamedTuple):
    """What a folder is made of.

    Attributes:
        job: What was asked for.
        contract: What the file says of itself.
        program: The program of the file.
        wasm: The compiled module.
        vectors: Items of the self-test.
        about: What the scripts know of the model.
        zipped: Bytes of the module, gzipped.
    """

    job: ExportJob
    contract: Contract
    program: Program
    wasm: bytes
    vectors: Vectors
    about: dict[str, Any]
    zipped: int


def folder_texts(parts: Parts) -> dict[str, str]:
    """The files of the folder but the module itself, by their names."""
    name = parts.job.name
    vectors = {
        "inputs": [_base64(row) for row in parts.vectors.inputs],
        "outputs": [_base64(row) for row in parts.vectors.outputs],
    }
    item = "Picture" if parts.contract.input.is_image else "ArrayLike<number>"
    words = {"NAME": name, "VERSION": edgepress.__version__, "ABOUT": _json(parts.about), "ITEM": item}
    words |= {"PIXELS": shared("pixels"), "CORE": _text("core.js")}
    title = one_line(parts.job.path.stem)
    manifest = {
        "name": title,
        "short_name": title[:12],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#0b5cad",
        "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any maskable"}],
    }
    texts = {
        "index.html": page_text(parts, vectors),
        f"{name}.mjs": fill("wasm/model.mjs", **words),
        f"{name}.d.mts": fill("wasm/model.d.mts", **words),
        "package.json": f"{json.dumps(_package(parts), indent=2)}\n",
        "selftest.json": f"{json.dumps(vectors)}\n",
        "manifest.webmanifest": f"{json.dumps(manifest, indent=2)}\n",
        "icon.svg": _text("icon.svg"),
        "README.md": _readme(parts),
    }
    kept = "".join(texts[path] for path in ("index.html", "manifest.webmanifest", "icon.svg"))
    return texts | {"sw.js": fill("wasm/sw.js", HASH=hashlib.sha256(kept.encode()).hexdigest()[:16])}


def page_text(parts: Parts, vectors: dict[str, list[str]]) -> str:
    """The page, which holds all that it needs; its policy names its script and its style by their hashes."""
    contract = parts.contract
    spec = contract.input
    constants = {"about": parts.about, "VECTORS": vectors, "WASM": _base64(parts.wasm)}
    lines = [f"const {name} = {_json(value)};" for name, value in constants.items()]
    scripts = (shared("words"), shared("pixels"), _text("core.js"), _text("page.js"))
    script = "\n".join(('\n"use strict";', *lines, *scripts))
    style = f"\n{_runtime_file('page.css')}{_text('page.css')}"
    policy = (
        f"default-src 'none'; script-src '{_source_hash(script)}' 'wasm-unsafe-eval'; "
        f"style-src '{_source_hash(style)}'; "
        "img-src 'self' blob: data:; media-src blob:; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    count = parts.program.input.size
    shape = " x ".join(map(str, spec.shape))
    sees = f"It takes {count} values, not pictures."
    if spec.is_image:
        sees = f"It sees {spec.shape[1]} x {spec.shape[0]} pixels, {'grey' if spec.color == 'grey' else 'in color'}."
    words = {
        "TITLE": one_line(parts.job.path.stem),
        "SEES": f"{sees} It knows {len(contract.labels)} classes.",
        "NUMBERS": f"{count} values, shape {shape}, the last axis fastest, with spaces or commas between",
        "CAPTION": "The best classes",
        "SCORE": "Probability" if contract.limits.probability else "Score",
        "PROMISE": promise_of(contract),
        "FILE": one_line(parts.job.path.name),
        "SIZE": size(len(parts.wasm)),
        "VERSION": edgepress.__version__,
        "POLICY": policy,
    }
    texts = {key: html.escape(word, quote=key != "POLICY") for key, word in words.items()}
    return fill("wasm/page.html", **texts, STYLE=style, SCRIPT=script)


def promise_of(contract: Contract) -> str:
    """What is promised of answers in a page; empty without limits."""
    engine = contract.accept.engine if contract.accept else ""
    return contract.limits.promise(engine if engine == SAME_ANSWERS else "WebAssembly")


def shared(name: str) -> str:
    """A part of the script of `edgepress.runtime`'s page that other pages have, too: "words" or "pixels"."""
    parts = _runtime_file("page.js").split("// Shared")
    (found,) = [part for part in parts if part.partition("\n")[0].endswith(f": {name}.")]
    return found.partition("\n")[2]


def _package(parts: Parts) -> dict[str, Any]:
    name = parts.job.name
    types = f"./{name}.d.mts"
    return {
        "name": library_name(parts.job.path.stem if name == "model" else name).lower(),
        "version": "1.0.0",
        "description": f"{one_line(parts.job.path.name)} as WebAssembly, made by edgepress {edgepress.__version__}",
        "type": "module",
        "types": types,
        "exports": {
            ".": {"types": types, "default": f"./{name}.mjs"},
            f"./{name}.wasm": f"./{name}.wasm",
            "./selftest.json": "./selftest.json",
        },
        "files": [f"{name}.mjs", f"{name}.d.mts", f"{name}.wasm", "selftest.json"],
        "sideEffects": False,
    }


def _readme(parts: Parts) -> str:
    is_image = parts.contract.input.is_image
    return fill(
        "wasm/README.md",
        TITLE=markdown(parts.job.path.stem),
        FILE=markdown(parts.job.path.name),
        SIZE=size(len(parts.wasm)),
        GZIPPED=size(parts.zipped),
        VERSION=edgepress.__version__,
        ITEMS="pictures, and frames of a webcam" if is_image else "values that are written into it",
        COUNT=str(len(parts.vectors.inputs)),
        SOURCE=markdown(parts.vectors.source),
        NAME=parts.job.name,
        PACKAGE=_package(parts)["name"],
        EXAMPLE=_PICTURE if is_image else _VALUES,
        INPUT=input_text(_port(parts.program.input), parts.contract),
        OUTPUT=output_text(_port(parts.program.output), parts.contract).replace(", also in `model_labels`", ""),
    )


def _port(tensor: Any) -> TensorPort:
    return TensorPort(tuple(tensor.shape), tensor.dtype, quantization_of(tensor) if len(tensor.scales) else None)


def _json(value: Any) -> str:
    """JSON that neither ends a script nor begins a comment in it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _base64(content: bytes | npt.NDArray[np.generic]) -> str:
    return base64.b64encode(bytes(content)).decode()


def _source_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(name: str) -> str:
    return (FILES / "wasm" / name).read_text(encoding="utf-8")


def _runtime_file(name: str) -> str:
    return Path(runtime.__file__).with_name(name).read_text(encoding="utf-8")
