"""The page of `edgepress play` with models of sound, in Debian's chromium with a fake microphone that plays a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, axe_findings, chromium
from playing_page import Client, Page, fuzz
from sounds import tone, wav_bytes, write_words

from edgepress.toolkit import convert, train

pytestmark = NEEDS_CHROMIUM
RATE = 16000
FAKE = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    with chromium() as start:
        yield start


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of files that tell two words apart, and a recording of both."""
    folder = tmp_path_factory.mktemp("sound")
    words = write_words(folder / "words", classes=2, speakers=8, each=5)
    trained = train(words, arch="stream-cnn", epochs=20, learning_rate=0.003, out=folder / "run")
    convert(trained.model, to="tflite-float32,onnx-int8", out=folder / "files")
    rng = np.random.default_rng(5)
    samples = np.concatenate([tone(rng, number % 2, int(1.5 * RATE)) for number in range(6)])
    (folder / "both.wav").write_bytes(wav_bytes(samples[:, None], RATE))
    with fuzz().playing(sorted((folder / "files").glob("model*.*")), "--data", str(words)) as running:
        fuzz().compared(running.url)
        yield SimpleNamespace(url=running.url, recording=folder / "both.wav")


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any], made: Any) -> Any:
    hears = f"--use-file-for-fake-audio-capture={made.recording}"
    return launch(FAKE, "--use-fake-ui-for-media-stream", hears)


@pytest.fixture
def page(browser: Any, made: Any) -> Iterator[Page]:
    page = Page(browser, made.url)
    yield page
    page.context.close()
    assert page.complaints == []
    assert page.elsewhere == []


def test_a_recording_shows_its_spectrogram_its_events_and_can_be_played(page: Page, made: Any) -> None:
    expected = Client(made.url).ask("POST", "/classify", made.recording.read_bytes()).json
    page.after(lambda: page.tab.set_input_files("#file", [made.recording]))
    assert page.text("#summary") == expected["summary"]
    assert page.text("#caption") == "both.wav"
    for n, answer in enumerate(expected["answers"]):
        assert answer["events"]
        said = page.tab.locator("#rows tr").nth(n).locator("td").first.inner_text().replace("\xa0", " ")
        heard = [f"{event['label']} {event['time_s']:.1f} s" for event in answer["events"]]
        assert f"Heard: {', '.join(heard)}" in said
        ticks = page.tab.locator("#lanes li").nth(n).locator(".tick")
        places = ticks.evaluate_all("ticks => ticks.map((tick) => parseFloat(tick.style.left) / 100)")
        assert places == pytest.approx([event["time_s"] / 9 for event in answer["events"]], abs=1e-4)
    assert page.tab.locator("#picture").get_attribute("src") == expected["seen"]
    assert page.tab.locator("#player").evaluate("""player => new Promise((done, failed) => {
        if (player.readyState) done(player.duration);
        player.onloadedmetadata = () => done(player.duration);
        player.onerror = () => failed(player.error.message);
    })""") == pytest.approx(9, abs=0.1)  # fmt: skip
    page.after(lambda: page.tab.locator("#cards button").first.click())
    assert not page.tab.locator("#lanes").is_visible()
    assert not page.tab.locator("#player").is_visible()


def test_what_the_browser_decodes_is_heard_too(page: Page, made: Any) -> None:
    """A recording of the browser's own: Opus in WebM."""
    page.after(lambda: page.tab.evaluate("""async () => {
        const context = new AudioContext();
        const tone = new OscillatorNode(context, { frequency: 700 });
        const into = context.createMediaStreamDestination();
        tone.connect(into);
        tone.start();
        const recorder = new MediaRecorder(into.stream);
        const parts = [];
        recorder.ondataavailable = ({ data }) => parts.push(data);
        await new Promise((done) => {
            recorder.onstop = done;
            recorder.start();
            setTimeout(() => recorder.stop(), 1500);
        });
        await context.close();
        takePhotos([new File(parts, "tone.webm", { type: recorder.mimeType })]);
    }"""))  # fmt: skip
    assert page.text("#caption") == "tone.webm"
    assert "answer" in page.text("#summary")
    assert not page.tab.locator("#trouble").is_visible()


def test_what_is_no_recording_is_one_message(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "cut.wav").write_bytes(wav_bytes(np.zeros((99, 1)), RATE)[:-9])
    for name, message in (("notes.txt", "no recording that this browser can decode"), ("cut.wav", "is cut off")):
        page.tab.set_input_files("#file", [tmp_path / name])
        page.tab.wait_for_selector(f"#trouble:has-text('{name}')")
        assert message in page.text("#trouble")
    page.complaints.clear()  # chromium's own line on status 400


def test_the_microphone_is_heard_live_and_kept_as_a_recording(page: Page) -> None:
    page.after(lambda: page.tab.locator("#microphone").click(), 12)
    assert page.text("#microphone") == "Stop and keep"
    assert page.text("#caption") == "The microphone is on."
    assert "Heard: word" in page.text("#rows")
    assert page.tab.locator("#picture").is_visible()
    page.after(lambda: page.tab.locator("#microphone").click())
    assert page.text("#microphone") == "Use the microphone"
    assert page.text("#caption") == "recording 1.wav"
    assert page.tab.locator("#strip [aria-current]").get_attribute("title") == "recording 1.wav"
    assert page.tab.locator("#player").is_visible()
    assert "Heard: word" in page.text("#rows")
    before = page.answers()
    page.tab.wait_for_timeout(1500)
    assert page.answers() == before, "nothing is asked any more"


def test_another_item_ends_the_microphone(page: Page, made: Any) -> None:
    page.after(lambda: page.tab.locator("#microphone").click(), 2)
    page.after(lambda: page.tab.set_input_files("#file", [made.recording]))
    assert page.text("#caption") == "both.wav"
    assert page.text("#microphone") == "Use the microphone"
    assert page.tab.evaluate("microphone") is None


def test_a_refused_microphone_is_said(launch: Callable[..., Any], made: Any) -> None:
    browser = launch(FAKE, "--deny-permission-prompts")
    page = Page(browser, made.url)
    page.tab.locator("#microphone").click()
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert "did not allow the microphone" in page.text("#trouble")
    assert page.text("#microphone") == "Use the microphone"
    browser.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing_and_nothing_hangs_over(browser: Any, made: Any, scheme: str, width: int) -> None:
    page = Page(browser, made.url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    states: list[Callable[[], Any]] = [
        lambda: page.tab.set_input_files("#file", [made.recording]),
        lambda: page.tab.locator("#microphone").click(),
        lambda: page.tab.locator("#cards button").first.click(),
    ]
    for act in states:
        page.after(act)
        assert axe_findings(page.tab) == []
        assert page.tab.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()
