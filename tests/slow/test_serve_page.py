"""The page of `serve` in a browser: Debian's chromium, without a screen."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, axe_findings, chromium
from foreign_models import onnx_with
from PIL import Image
from serving import COMMAND, Running

from edgepress.runtime import load
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec

ROOT = Path(__file__).parents[2]
FIRST_ANSWER_MS = 1000.0
MOST_BYTES = 14_800
CLOCK = """() => {
  const answer = document.querySelector("#answer");
  document.querySelector("#pick").addEventListener("change", () => {
    const begin = performance.now();
    new MutationObserver(() => answer.hidden || requestAnimationFrame(() => requestAnimationFrame(() => {
      window.painted = performance.now() - begin;
    }))).observe(answer, {attributes: true});
  }, {capture: true});
}"""
"""Puts into `painted` the ms from the choice of a file until its answer is on the screen."""
KEEP_BODIES = """
  window.bodies = [];
  const real = fetch;
  window.fetch = (url, options) => {
    if (options?.body) new Blob([options.body]).arrayBuffer().then((b) => bodies.push(Array.from(new Uint8Array(b))));
    return real(url, options);
  };
"""
"""Keeps what the page posts: a browser does not tell its tests what it reads from files."""
NO_PILLOW = (
    "import sys; sys.modules['PIL'] = None; from edgepress.runtime.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def model(run: Any) -> Path:
    path: Path = run.variants["tflite-int8"]
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    running = Running(model)
    yield running
    assert "Traceback" not in running.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as start:
        yield start("--host-resolver-rules=MAP evil.example 127.0.0.1")


@pytest.fixture
def seven(digits: Any, tmp_path: Path) -> Path:
    pixels = digits.test.read([0])[0, ..., 0]
    Image.fromarray(pixels).resize((280, 280)).save(tmp_path / "seven.png")
    return tmp_path / "seven.png"


class Opened:
    """The page in a tab of its own: what it complained of, what it asked for, and what it posted."""

    def __init__(self, browser: Any, url: str, ready: dict[str, Any] | None = None, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("filechooser", lambda _: None)  # from now on, as one that opens early is missed
        self.tab.add_init_script(KEEP_BODIES)
        if ready is not None:
            self.tab.route("**/ready", lambda route: route.fulfill(json=ready))
        self.tab.goto(url)
        self.tab.wait_for_selector("#choose:visible")

    def choose(self, path: Path) -> str:
        """Give the page a file; returns what the page then says, an answer or an error."""
        self.tab.set_input_files("#pick", path)
        self.tab.wait_for_selector("#status[data-state=done], #status[data-state=bad]")
        said: str = self.tab.inner_text("#status")
        return said

    def posted(self) -> list[bytes]:
        return [bytes(body) for body in self.tab.evaluate("bodies")]

    def rows(self) -> list[tuple[str, str]]:
        texts = self.tab.locator("#answer tbody tr").all_inner_texts()
        return [tuple(text.split("\t")) for text in texts]


def written(classes: Any) -> list[tuple[str, str]]:
    return [(p.label, f"{100 * p.score:.1f} %") for p in classes]


def test_the_page_is_small_and_names_no_other_place() -> None:
    files = sorted((ROOT / "runtime").glob("page.*"))
    assert [p.name for p in files] == ["page.css", "page.html", "page.js"]
    assert sum(p.stat().st_size for p in files) < MOST_BYTES
    for path in files:
        assert "//" not in path.read_text().replace("\n// ", "").replace("; // ", ""), path
        assert "innerHTML" not in path.read_text()
    assert "<script>" not in (ROOT / "runtime" / "page.html").read_text()


def test_it_comes_from_the_server_with_its_types(server: Running) -> None:
    assert server.ready["page"] == server.page
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        status, content, headers = server.ask("GET", path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert content == (ROOT / "runtime" / (path[1:] or "page.html")).read_bytes()


@NEEDS_CHROMIUM
def test_a_chosen_picture_is_sent_as_it_is_and_answered_within_a_second(
    browser: Any, server: Running, model: Path, seven: Path
) -> None:
    opened = Opened(browser, server.page)
    opened.tab.evaluate(CLOCK)
    said = opened.choose(seven)
    opened.tab.wait_for_timeout(300)
    assert 0 < opened.tab.evaluate("window.painted") < FIRST_ANSWER_MS
    expected = load(model).classify(seven.read_bytes())
    assert opened.posted() == [seven.read_bytes()]
    assert opened.rows() == written(expected)
    assert said.startswith(f"{expected[0].label}, {100 * expected[0].score:.1f} %, in ")
    assert "seven.png" in opened.tab.inner_text("#sent")
    assert opened.tab.locator("#picture").get_attribute("alt") == "The picture seven.png"
    assert opened.complaints == []
    assert all(url.startswith((server.page, "blob:", "data:")) for url in opened.requests)
    opened.context.close()


@NEEDS_CHROMIUM
def test_keyboard_and_screen_reader_reach_all_of_it(browser: Any, server: Running, seven: Path) -> None:
    opened = Opened(browser, server.page)
    opened.tab.keyboard.press("Tab")
    assert opened.tab.evaluate("document.activeElement.id") == "pick"
    assert opened.tab.get_by_label("Choose a picture").count() == 1
    with opened.tab.expect_file_chooser() as chooser:
        opened.tab.keyboard.press("Enter")
    chooser.value.set_files(seven)
    opened.tab.wait_for_selector("#answer:visible")
    assert opened.tab.get_by_role("status").inner_text().endswith("ms with sending.")
    assert opened.tab.get_by_role("rowheader").count() == 5
    opened.context.close()


@NEEDS_CHROMIUM
def test_a_phone_offers_its_camera(browser: Any, server: Running, seven: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    opened = Opened(browser, server.page, **phone)
    camera = opened.tab.get_by_label("Take a picture")
    assert camera.is_visible()
    assert camera.get_attribute("capture") == "environment"
    with opened.tab.expect_file_chooser() as chooser:
        camera.tap()
    chooser.value.set_files(seven)
    opened.tab.wait_for_selector("#answer:visible")
    assert opened.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.context.close()


@NEEDS_CHROMIUM
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, browser: Any, server: Running, seven: Path, tmp_path: Path) -> None:
    opened = Opened(browser, server.page, color_scheme=scheme, has_touch=True, is_mobile=True)
    opened.choose(seven)
    assert axe_findings(opened.tab) == []
    (tmp_path / "text.png").write_text("no picture")
    assert "is not a JPEG, PNG" in opened.choose(tmp_path / "text.png")
    assert opened.tab.locator("#answer").is_hidden()
    assert axe_findings(opened.tab) == []
    opened.context.close()


@NEEDS_CHROMIUM
@pytest.mark.parametrize(
    ("name", "limits", "why"),
    [
        ("large.bmp", {"max_body_bytes": 30_000}, "the file has"),
        ("wide.png", {"max_pixels": 9_999}, "million pixels"),
        ("other.ico", {}, "the board answered: "),
    ],
)
def test_a_file_that_the_board_does_not_take_is_made_small_by_the_browser(
    name: str, limits: dict[str, int], why: str, browser: Any, server: Running, model: Path, tmp_path: Path
) -> None:
    """With small limits; `benchmarks/pages/board_page.py` goes over the real ones."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    opened = Opened(browser, server.page, server.ask("GET", "/ready")[1] | limits)
    opened.choose(tmp_path / name)
    assert why in opened.tab.inner_text("#sent")
    sent = opened.posted()[-1]
    array = np.load(io.BytesIO(sent))
    assert (array.shape, array.dtype) == ((28, 28, 1), np.uint8)
    assert opened.rows() == written(load(model).classify(sent))
    opened.context.close()


@NEEDS_CHROMIUM
def test_the_browser_prepares_nothing_for_a_board_that_crops(browser: Any, server: Running, tmp_path: Path) -> None:
    """It would prepare the whole picture, and the board would look at a part of that."""
    Image.new("RGB", (20, 20)).save(tmp_path / "other.ico")
    opened = Opened(browser, server.page, server.ask("GET", "/ready")[1] | {"crop": "0,0,50%,50%"})
    assert "The board looks at a part of each picture" in opened.choose(tmp_path / "other.ico")
    assert len(opened.posted()) == 1
    opened.context.close()


@NEEDS_CHROMIUM
def test_a_board_without_pillow_gets_pixels(browser: Any, model: Path, seven: Path) -> None:
    running = Running(model, command=("-c", NO_PILLOW, COMMAND[-1]))
    opened = Opened(browser, running.page)
    opened.choose(seven)
    assert "without Pillow" in opened.tab.inner_text("#sent")
    assert opened.rows()[0][0] == load(model).classify(seven)[0].label
    opened.context.close()
    running.end()


@NEEDS_CHROMIUM
@pytest.mark.parametrize("resize", ["stretch", "crop", "crop:0.875", "pad"])
@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_the_browser_makes_the_pixels_that_the_runtime_makes(
    resize: str, color: Any, browser: Any, server: Running, tmp_path: Path
) -> None:
    """A turned and partly transparent picture, both larger and smaller than what the model sees."""
    spec = InputSpec.image(48, 64, color, resize)
    ready = server.ask("GET", "/ready")[1] | {"shape": [*spec.shape], "decodes_images": False}
    opened = Opened(browser, server.page, ready | {"image": {"color": color, "resize": resize}})
    random = np.random.default_rng(1)
    for size in ((301, 205), (64, 48), (23, 31)):
        image = Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        turned = image.getexif()
        turned[0x0112] = 6
        image.save(tmp_path / "p.png", exif=turned)
        opened.choose(tmp_path / "p.png")
        found, expected = np.load(io.BytesIO(opened.posted()[-1])), load_image(tmp_path / "p.png", spec)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= 1, size
    opened.context.close()


@NEEDS_CHROMIUM
def test_a_model_of_tensors_asks_for_an_array(browser: Any, tmp_path: Path) -> None:
    path = onnx_with(tmp_path / "m.onnx", {"y": [1, 5]}, shape=[1, 49, 10], softmax=True)
    running = Running(path)
    shape = running.ask("GET", "/ready")[1]["shape"]
    np.save(tmp_path / "item.npy", np.zeros(shape, np.float32))
    opened = Opened(browser, running.page)
    assert "not pictures" in opened.tab.inner_text("#about")
    assert opened.tab.get_by_label("Choose a .npy file").get_attribute("accept") == ".npy"
    opened.choose(tmp_path / "item.npy")
    assert opened.rows() == written(load(path).classify(tmp_path / "item.npy"))
    opened.context.close()
    running.end()


@NEEDS_CHROMIUM
def test_a_stream_can_begin_anew(browser: Any, server: Running) -> None:
    opened = Opened(browser, server.page, server.ask("GET", "/ready")[1] | {"keeps_state": True})
    opened.tab.route("**/reset", lambda route: route.fulfill(json={"status": "ok"}))
    opened.tab.get_by_role("button", name="Begin a new stream").click()
    opened.tab.wait_for_selector("text=A new stream begins.")
    opened.context.close()


@NEEDS_CHROMIUM
@pytest.mark.parametrize("alarm", [True, False])
def test_an_alarm_of_drift_is_said_below_each_answer(alarm: bool, browser: Any, server: Running, seven: Path) -> None:
    drift = {"scenes": 9, "alarm": alarm, "meaning": "Drift: <b>nothing</b> is promised."}
    answer = {"classes": [{"label": "7", "score": 0.5}], "accepted": False, "drift": drift}
    opened = Opened(browser, server.page)
    opened.tab.route("**/classify", lambda route: route.fulfill(json=answer))
    said = opened.choose(seven)
    assert said.startswith("Unknown; the best guess is 7, 50.0 %")
    assert said.endswith("with sending. Drift: <b>nothing</b> is promised." if alarm else "with sending.")
    opened.context.close()


@NEEDS_CHROMIUM
def test_a_board_that_is_gone_is_said(browser: Any, model: Path, seven: Path) -> None:
    running = Running(model)
    opened = Opened(browser, running.page)
    running.end()
    assert opened.choose(seven) == "The board does not answer. Is it on, and still serving?"
    assert opened.tab.locator("#status[data-state=bad]").count() == 1
    opened.context.close()


@NEEDS_CHROMIUM
def test_pages_of_other_sites_reach_nothing(browser: Any, server: Running, tmp_path: Path) -> None:
    """A page elsewhere posts by fetch and by a form, and calls the server by a name of its own."""
    (tmp_path / "index.html").write_text(f'<form method="post" action="{server.page}classify"><input name="a"></form>')
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    tab = browser.new_context().new_page()
    tab.goto(f"http://evil.example:{elsewhere.server_port}/")
    with tab.expect_event("requestfailed") as fetched:
        tab.evaluate("url => void fetch(url, {method: 'POST', mode: 'no-cors', body: 'x'})", f"{server.page}classify")
    with tab.expect_response(f"{server.page}classify") as sent:
        tab.evaluate("document.forms[0].submit()")
    rebound = tab.context.new_page().goto(f"http://evil.example:{server.port}/")
    assert "NotSameOrigin" in fetched.value.failure, "the answer is not even given to the page"
    assert [sent.value.status, rebound.status] == [403, 403]
    assert json.loads(rebound.text())["error"]["kind"] == "http"
    tab.context.close()
    elsewhere.shutdown()
