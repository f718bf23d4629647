"""The page of `export --to wasm` in Debian's chromium, from a file and from a server: answers, attacks, axe."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, assert_nothing_gets_out, axe_findings, chromium
from PIL import Image
from running_wasm import NODE, litert_answers, run_stored

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.to_c.lowering import lower
from edgepress.runtime import Model, read_contract
from edgepress.runtime.contract import Contract
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.shipping.exporting.export import export
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession
from edgepress.toolkit.training.loop import train

pytest.importorskip("ziglang")
pytestmark = NEEDS_CHROMIUM
NINE = (
    *("dense", "lenet", "alexnet", "vgg", "resnet8", "ds-cnn"),
    *("mobilenet-v1", "mobilenet-v2", "mobilenet-v3-small"),
)
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
HOSTILE = "</script><img src=x onerror=hacked=1>"
GIVE = """async ([content, name, type]) => {
    await classifyFile(new File([bytesOf(content)], name, { type }));
    const { dataset, textContent } = document.getElementById("status");
    return [dataset.state, textContent];
}"""
RUN = """(items) => items.map((item) => btoa(String.fromCharCode(...new Uint8Array(
    model.run(new ARRAYS[about.input.stored](bytesOf(item).buffer)).buffer))))"""
SVG = (
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9' onload='hacked=1'><script>hacked=1</script>"
    b"<image href='https://example.invalid/x.png'/><rect width='9' height='9'/></svg>"
)
SEED = 7
PICTURES = 1000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as start:
        yield start(*CAMERA)


@pytest.fixture(scope="module")
def model(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An integer-only LeNet with hostile labels."""
    folder = tmp_path_factory.mktemp("lenet")
    (made,) = convert(run.model, "tflite-int8", target="integer-only", out=folder, verify=False)
    labels = (HOSTILE, *contract_of(made.path).labels[1:])
    made.path.write_bytes(tflite_with_contract(made.path.read_bytes(), contract_of(made.path).replace(labels=labels)))
    return Path(made.path)


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(model, "wasm", out=tmp_path_factory.mktemp("page") / "out").folder


def exact(path: Path) -> Model:
    """A file whose answers are those of its exact program, not of XNNPACK, which rounds in another way."""
    return Model(path, "c99", 1, ProgramSession(path, lower(path), read_contract(path)))


def contract_of(path: Path) -> Contract:
    contract = read_contract(path)
    assert contract is not None
    return contract


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens a page, whose complaints and requests are checked afterwards."""
    contexts: list[Any] = []
    complaints: list[str] = []
    asked: list[str] = []

    def opening(url: str, **options: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        tab.wait_for_selector("#selftest[data-state]")
        return tab

    opening.forget = lambda: (complaints.clear(), asked.clear())  # type: ignore[attr-defined]
    yield opening
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:", "http://127.0.0.1:"))] == []


@pytest.fixture
def tab(opened: Callable[..., Any], folder: Path) -> Any:
    return opened((folder / "index.html").as_uri())


def png(pixels: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def give(tab: Any, content: bytes, name: str = "a.png", kind: str = "image/png") -> list[str]:
    found: list[str] = tab.evaluate(GIVE, [base64.b64encode(content).decode(), name, kind])
    return found


def test_a_page_from_a_file_tests_itself_and_answers_as_the_runtime(tab: Any, model: Path, digits: Any) -> None:
    assert tab.inner_text("#selftest").startswith("Self-test passed: 8 items")
    loaded = exact(model)
    rng = np.random.default_rng(SEED)
    pictures = [digits.test.read(slice(i, i + 1))[0, ..., 0] for i in range(10)]
    pictures += [rng.integers(0, 256, (*rng.integers(1, 200, 2), 3)).astype(np.uint8) for _ in range(20)]
    for picture in pictures:
        state, text = give(tab, png(picture))
        expected = loaded.classify(Image.fromarray(picture), top=10)
        assert state == "done"
        assert text.startswith(f"{expected[0].label}, ")
        shown = [row.split("\t") for row in tab.locator("#answer tbody tr").all_inner_texts()]
        known = {each.label: each.score for each in expected}
        for label, percent in shown:
            assert float(percent.rstrip(" %")) == pytest.approx(100 * known[label], abs=0.051)
    assert tab.evaluate("window.hacked ?? null") is None
    assert tab.locator("#answer img").count() == 0
    assert HOSTILE in tab.inner_text("#answer")


def test_photos_turned_by_exif_are_upright(tab: Any, model: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[4:30, 5:12] = 255
    answers = []
    for orientation in (1, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        written = io.BytesIO()
        Image.fromarray(pixels).save(written, "JPEG", exif=exif, quality=100, subsampling=0)
        give(tab, written.getvalue(), "a.jpg", "image/jpeg")
        answers.append(tab.inner_text("#answer tbody"))
        shown = float(tab.locator("#answer tbody td").first.inner_text().rstrip(" %"))
        assert shown == pytest.approx(100 * exact(model).classify(written.getvalue(), top=1)[0].score, abs=2.5)
    assert len({*answers}) > 1


def test_a_thousand_hostile_pictures_are_answers_or_one_message_each(tab: Any) -> None:
    """Bytes of pictures of five formats, changed, cut, lengthened and swapped, and what is no picture."""
    rng = np.random.default_rng(SEED)
    good = png(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8))
    first = give(tab, good)[1].partition(", in ")[0]
    pixels = Image.fromarray(rng.integers(0, 256, (24, 31, 4)).astype(np.uint8))
    sources = []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        written = io.BytesIO()
        (pixels if kind == "PNG" else pixels.convert("RGB")).save(written, kind)
        sources.append((f"image/{kind.lower()}", written.getvalue()))
    sources += [
        ("image/svg+xml", SVG),
        ("text/html", b"<script>hacked=1</script>"),
        ("", b""),
    ]
    states = {"done": 0, "bad": 0}
    for _ in range(PICTURES):
        kind, content = sources[rng.integers(len(sources))]
        changed = np.frombuffer(content, np.uint8).copy()
        if len(changed):
            places = rng.integers(0, min(len(changed), rng.choice([40, 4000])), rng.integers(0, 9))
            changed[places] = rng.integers(0, 256, len(places))
        content = changed.tobytes()[: rng.integers(1, 4000)] + bytes(rng.integers(0, 20))
        state, text = give(tab, content, f"<b>{kind}\u202e", kind if rng.random() < 0.8 else "image/png")
        states[state] += 1
        assert tab.locator("#answer").is_visible() == tab.locator("#view").is_visible() == (state == "done")
        assert state == "done" or "\\u{202e}" in text
    assert min(states.values()) > PICTURES / 10
    assert give(tab, good)[1].partition(", in ")[0] == first
    assert tab.evaluate("window.hacked ?? null") is None


def test_a_picture_that_claims_a_billion_pixels_is_refused(tab: Any) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(3751) * 30_000)) + chunk(b"IEND", b"")
    state, text = give(tab, bomb)
    assert state == "bad"
    assert "a.png" in text


def test_the_webcam_answers_and_stops(tab: Any) -> None:
    tab.click("#webcam")
    for _ in range(600):  # the page's policy forbids what wait_for_function does
        if int(tab.evaluate("document.documentElement.dataset.answers ?? 0")) > 5:
            break
        tab.wait_for_timeout(50)
    assert tab.locator("#camera").is_visible()
    tab.click("#webcam")
    assert tab.inner_text("#status") == "The webcam is off."
    assert not tab.locator("#view").is_visible()
    before = tab.evaluate("document.documentElement.dataset.answers")
    assert int(before) > 5
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.dataset.answers") == before


def test_nothing_gets_out(opened: Callable[..., Any], folder: Path) -> None:
    tab = opened((folder / "index.html").as_uri())
    assert_nothing_gets_out(tab)
    opened.forget()  # type: ignore[attr-defined] # what was blocked


def test_another_answer_fails_the_self_test_in_the_page(
    opened: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    import hashlib
    import re

    page = (folder / "index.html").read_text()
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    wrong = re.sub(r'"outputs":\["....', '"outputs":["AAAA', script)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, wrong)]
    (tmp_path / "index.html").write_text(page.replace(script, wrong).replace(*digests))
    tab = opened((tmp_path / "index.html").as_uri())
    assert tab.inner_text("#selftest").startswith("Self-test failed: 1 of 8 items")
    assert not tab.locator("#choose").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(scheme: str, width: int, opened: Callable[..., Any], folder: Path) -> None:
    size = {"width": width, "height": 844}
    tab = opened((folder / "index.html").as_uri(), viewport=size, color_scheme=scheme)
    assert axe_findings(tab) == []
    give(tab, png(np.zeros((20, 30, 3), np.uint8)))
    assert axe_findings(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_served_page_works_without_its_server(opened: Callable[..., Any], folder: Path) -> None:
    """The service worker keeps it; the manifest is one that chromium would install."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    tab = opened(url)
    tab.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    session = tab.context.new_cdp_session(tab)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [each["errorId"] for each in errors if each["errorId"] != "in-incognito"] == []
    server.shutdown()
    server.server_close()
    tab.goto(url)
    tab.wait_for_selector("#selftest[data-state]")
    assert tab.inner_text("#selftest").startswith("Self-test passed")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine: apt-get install nodejs")
@pytest.mark.parametrize("architecture", NINE)
def test_nine_architectures_answer_as_their_c_in_node_and_chromium(
    architecture: str, opened: Callable[..., Any], digits: Any, tmp_path: Path
) -> None:
    source = train(digits, architecture, out=tmp_path / "run", epochs=1, progress=False).model
    (made,) = convert(source, "tflite-int8", target="integer-only", out=tmp_path / "files", verify=False)
    out = export(made.path, "wasm", out=tmp_path / "page").folder
    chance = np.random.default_rng().integers(0, 256, (50, 28, 28, 1)).astype(np.uint8)
    items = np.concatenate([digits.test.read(slice(0, 50)), chance])
    program = lower(Path(made.path))
    expected = program.answers(items).reshape(100, -1)
    near = litert_answers(Path(made.path), items)  # rounds in another way, in some items
    assert (expected.argmax(axis=1) == near.argmax(axis=1)).mean() > 0.9
    np.testing.assert_array_equal(run_stored(out, items, expected.dtype), expected)
    tab = opened((out / "index.html").as_uri())
    assert tab.inner_text("#selftest").startswith("Self-test passed")
    texts = tab.evaluate(RUN, [base64.b64encode(item.tobytes()).decode() for item in items])
    found = np.stack([np.frombuffer(base64.b64decode(text), expected.dtype) for text in texts])
    np.testing.assert_array_equal(found, expected)
