"""The page of `edgepress play` in Debian's chromium and its fake camera: photos, webcam, test images, keyboard, axe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM, assert_nothing_gets_out, axe_findings, chromium
from PIL import Image
from playing_page import HOSTILE, Client, Page, fuzz, some_files

pytestmark = NEEDS_CHROMIUM
FAKE_CAMERA = "--use-fake-device-for-media-stream"
GIVE = """([kind, name]) => new Promise((done) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 30 });
    canvas.getContext("2d").fillRect(10, 5, 8, 20);
    canvas.toBlob((blob) => {
        const data = new DataTransfer();
        data.items.add(new File([blob], name, { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
            : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.getElementById("drop").dispatchEvent(event);
        done();
    });
})"""


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    with chromium() as start:
        yield start


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    browser = launch(FAKE_CAMERA, "--use-fake-ui-for-media-stream")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def url(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fuzz().playing(some_files(run, tmp_path_factory.mktemp("files"))) as running:
        fuzz().compared(running.url)
        yield running.url


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Page]:
    page = Page(browser, url)
    yield page
    page.context.close()
    assert page.complaints == []
    assert page.elsewhere == []


def test_photos_show_what_the_server_answers(page: Page, url: str, pictures: Path) -> None:
    photo = pictures / "a.png"
    expected = Client(url).ask("POST", "/classify", photo.read_bytes()).json
    page.after(lambda: page.tab.set_input_files("#file", [photo]))
    assert page.text("#summary") == page.text("#announce") == expected["summary"]
    rows = page.tab.locator("#rows tr")
    assert rows.count() == len(expected["answers"]) == 4
    for n, answer in enumerate(expected["answers"]):
        cells = rows.nth(n).locator("td").all_inner_texts()
        assert cells[0].split()[0] == answer["answer"][0]
        assert ("differs" in cells[0]) == answer["differs"]
        best = answer["classes"][0]
        assert cells[1].split("\n")[:2] == [best["label"], f"{100 * best['score']:.1f} %"]
        assert cells[2].endswith("s")
    assert "28 by 28" in page.tab.locator("#seen img").get_attribute("alt")
    assert page.text("#caption") == "a.png"
    page.after(lambda: page.tab.set_input_files("#file", [photo, pictures / "b.npy"]))
    page.after(lambda: page.tab.locator("#strip button[aria-label='b.npy']").click())
    assert page.text("#caption") == "b.npy"
    assert page.tab.locator("#strip button").count() == 3


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(kind: str, page: Page) -> None:
    page.after(lambda: page.tab.evaluate(GIVE, [kind, f"<b>{kind}</b>.png"]))
    assert page.text("#caption") == f"<b>{kind}</b>.png"
    assert "answers" in page.text("#summary") or "answer" in page.text("#summary")
    assert not page.tab.locator("#trouble").is_visible()


def test_what_is_no_picture_is_one_message(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    page.tab.set_input_files("#file", [tmp_path / "notes.txt"])
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert page.text("#trouble").startswith("notes.txt: The image of 8 bytes is not a JPEG")
    page.complaints.clear()  # chromium's own line on status 400
    page.tab.evaluate("document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    assert "no picture in the clipboard" in page.text("#trouble")


SHOWN = """() => ({
    picture: [...document.querySelectorAll("#picture, #camera, #seen")].filter((e) => !e.hidden).map((e) => e.id),
    answers: [...document.querySelectorAll("#rows td")].map((e) => e.textContent).join(""),
    runs: document.getElementById("runs").textContent,
})"""
UNREADABLE = {
    "notes.txt": b"no image",
    "cut.png": b"PNG",
    "notes.png": b"no image",
    "array.npy": b"\x93NUMPY\x01\0",
    "empty.jpg": b"",
    "huge.png": bytes(20_001),
}
PUT = """([kind, files]) => {
    const data = new DataTransfer();
    for (const [name, content, type] of files) data.items.add(new File([Uint8Array.from(content)], name, { type }));
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
        : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(event);
}"""


WAYS = ("file", "drop", "paste")
BEFORE = ("photo", "test image", "webcam")


@pytest.mark.parametrize(
    ("name", "before", "way"),
    [
        (name, before, WAYS[(row + column) % len(WAYS)])  # a Latin square: every pair, not every triple
        for row, name in enumerate(UNREADABLE)
        for column, before in enumerate(BEFORE)
    ],
)
def test_nothing_of_what_was_shown_stays_beside_a_picture_that_cannot_be_read(
    name: str, before: str, way: str, page: Page, pictures: Path, tmp_path: Path
) -> None:
    """For six kinds of files after each kind of picture, given in three ways in turn."""
    page.tab.evaluate("state.limits.body = 20_000")
    acts = {
        "photo": lambda: page.tab.set_input_files("#file", [pictures / "a.png"]),
        "test image": lambda: page.tab.locator("#cards button").first.click(),
        "webcam": lambda: page.tab.locator("#webcam").click(),
    }
    page.after(acts[before])
    shown = page.tab.evaluate(SHOWN)
    assert shown["answers"]
    assert shown["picture"]
    content = (pictures / "a.png").read_bytes()[:60] if UNREADABLE[name] == b"PNG" else UNREADABLE[name]
    if way == "file":
        (tmp_path / name).write_bytes(content)
        page.tab.set_input_files("#file", [tmp_path / name])
    else:
        kind = "image/png" if name.endswith(("png", "jpg")) else ""
        page.tab.evaluate(PUT, [way, [[name, list(content), kind]]])
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert page.text("#trouble").startswith(name)
    assert page.tab.evaluate(SHOWN) == {"picture": [], "answers": "", "runs": ""}
    assert page.text("#caption") == name
    assert page.text("#summary") == "There is no answer."
    assert page.text("#webcam") == "Use the webcam"
    page.after(acts["photo"])
    assert page.tab.evaluate(SHOWN)["picture"] == ["picture", "seen"]
    assert not page.tab.locator("#trouble").is_visible()
    page.complaints.clear()  # chromium's own lines on status 400


@pytest.mark.parametrize("fails", ["test/*", "classify*"])
def test_nothing_stays_when_the_server_refuses(fails: str, page: Page, pictures: Path) -> None:
    page.after(lambda: page.tab.set_input_files("#file", [pictures / "a.png"]))
    refused = {"error": {"kind": "http", "message": "No.", "hint": ""}}
    page.tab.route(f"**/{fails}", lambda route: route.fulfill(status=503, json=refused))
    if fails == "test/*":
        page.tab.locator("#cards button").first.click()
    else:
        page.tab.locator("#webcam").click()
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert page.tab.evaluate(SHOWN) == {"picture": [], "answers": "", "runs": ""}
    assert "No." in page.text("#trouble")
    page.complaints.clear()


def test_a_folder_that_is_dropped_is_not_a_server_that_is_gone(page: Page) -> None:
    page.tab.evaluate("""() => {
        const folder = new File(["x"], "folder");
        folder.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) });
        takePhotos([folder]);
    }""")
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert page.text("#trouble") == "folder: The browser can't read it."


def test_the_webcam_answers_within_a_second_and_stops(page: Page) -> None:
    times = []
    for _ in range(3):  # the best of three: the machine may be busy
        times.append(page.tab.evaluate(fuzz().FIRST_ANSWER_MS))
        page.after(lambda: None, more=2)
        assert page.text("#webcam") == "Stop the webcam"
        assert page.tab.locator("#camera").is_visible()
        page.tab.locator("#webcam").click()
    assert min(times) < 1000, times
    assert page.text("#webcam") == "Use the webcam"
    assert page.tab.evaluate("document.getElementById('camera').srcObject") is None
    page.tab.wait_for_timeout(400)
    before = page.answers()
    page.tab.wait_for_timeout(600)
    assert page.answers() == before
    assert not page.tab.locator("#trouble").is_visible()


def test_a_refused_camera_is_said(launch: Callable[..., Any], url: str) -> None:
    browser = launch(FAKE_CAMERA, "--deny-permission-prompts")
    page = Page(browser, url)
    page.tab.locator("#webcam").click()
    page.tab.wait_for_selector("#trouble:not([hidden])")
    assert "did not allow the camera" in page.text("#trouble")
    assert page.text("#webcam") == "Use the webcam"
    browser.close()


def test_test_images_are_clicked_through_by_keyboard(page: Page, url: str) -> None:
    listed = Client(url).ask("GET", "/differences").json["items"]
    items = [item for item in listed if item["others"]]
    cards = page.tab.locator("#cards button")
    assert cards.count() == min(len(items), 60)
    cards.first.focus()
    page.after(lambda: page.tab.keyboard.press("Enter"))
    assert page.text("#place") == f"1 of {len(items)}"
    assert items[0]["label"] in page.text("#caption")
    assert page.tab.evaluate("document.activeElement.id") == "next"
    page.after(lambda: page.tab.keyboard.press("Enter"))
    assert page.text("#place") == f"2 of {len(items)}"
    assert items[1]["name"] in page.text("#caption")
    right = page.tab.locator("#rows tr").first.locator(".said .yes").count() == 1
    assert right == (items[1]["reference"] == items[1]["label"])
    assert page.tab.locator("#cards button[aria-current]").get_attribute("data-row") == str(items[1]["row"])
    page.tab.keyboard.press("Shift+Tab")
    page.after(lambda: page.tab.keyboard.press("Enter"))
    assert page.text("#place") == f"1 of {len(items)}"
    assert page.tab.evaluate("document.activeElement.id") == "next", "the other button can't go on"
    page.tab.locator("#which").select_option("2")
    assert cards.count() == min(60, sum("2" in item["others"] for item in items))
    page.tab.locator("#which").select_option("same")
    assert cards.count() == len(listed) - len(items) == 24


def test_every_control_is_reached_with_tab(page: Page) -> None:
    seen = []
    for _ in range(8):
        page.tab.keyboard.press("Tab")
        seen.append(page.tab.evaluate("document.activeElement.id || document.activeElement.className"))
    assert seen[:3] == ["skip", "file", "webcam"]
    assert "scroll" in seen
    assert "which" in seen


def test_hostile_names_stay_text(page: Page) -> None:
    assert HOSTILE in page.text("#rows")
    assert page.tab.evaluate("window.hacked") is None
    assert page.tab.locator("#rows img").count() == 0
    assert_nothing_gets_out(page.tab)
    page.complaints.clear()
    page.elsewhere.clear()  # they were blocked


def test_another_page_can_neither_ask_nor_show_it(browser: Any, url: str, tmp_path: Path) -> None:
    """From a file, whose origin is null, and which is as foreign as any other site."""
    (tmp_path / "evil.html").write_text(f'<iframe src="{url}"></iframe>')
    context = browser.new_context()
    tab = context.new_page()
    tab.goto((tmp_path / "evil.html").as_uri())
    statuses = tab.evaluate(
        """async (url) => [
             await fetch(url + "classify", { method: "POST", body: "x" }).then((a) => a.status, (e) => e.name),
             await fetch(url + "state").then((a) => a.status, (e) => e.name),
           ]""",
        url,
    )
    assert statuses == ["TypeError", "TypeError"]
    tab.wait_for_timeout(300)
    frames = [frame for frame in tab.frames if frame.parent_frame]
    assert all(frame.locator("#rows").count() == 0 for frame in frames)
    context.close()


def test_when_the_server_is_gone_the_page_says_so(run: Any, browser: Any) -> None:
    with fuzz().playing([run.variants["tflite-float32"]]) as running:
        fuzz().compared(running.url)
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(running.url)
        tab.wait_for_selector("html[data-ready=yes]")
    tab.evaluate(GIVE, ["drop", "late.png"])
    tab.wait_for_selector("#trouble:not([hidden])")
    assert "still running?" in tab.locator("#trouble").inner_text()
    context.close()


def test_of_many_photos_the_first_is_shown_and_the_too_large_one_is_named(page: Page, tmp_path: Path) -> None:
    names = [f"{n:02}.png" for n in range(14)]
    for n, name in enumerate(names):
        Image.new("L", (30 + n, 30), n).save(tmp_path / name)
    (tmp_path / "huge.png").write_bytes(bytes(20_000))
    page.tab.evaluate("state.limits.body = 19_000")
    page.after(lambda: page.tab.set_input_files("#file", [tmp_path / name for name in ("huge.png", *names)]))
    assert page.text("#caption") == "00.png"
    assert page.tab.locator("#picture").evaluate("image => image.decode().then(() => image.naturalWidth)") == 30
    assert page.tab.locator("#strip button").count() == 12
    assert page.tab.locator("#strip [aria-current]").get_attribute("title") == "00.png"
    assert page.text("#trouble").startswith("huge.png has ")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing_and_nothing_hangs_over(
    browser: Any, url: str, pictures: Path, scheme: str, width: int
) -> None:
    page = Page(browser, url, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    Image.open(pictures / "a.png").save(pictures / "c.png")
    states: list[Callable[[], Any]] = [
        lambda: page.tab.set_input_files("#file", [pictures / "a.png", pictures / "c.png"]),
        lambda: page.tab.locator("#cards button").first.click(),
        lambda: page.tab.locator("#webcam").click(),
    ]
    for act in states:
        page.after(act)
        assert axe_findings(page.tab) == []
        assert page.tab.evaluate("document.documentElement.scrollWidth") == width
    ground = page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(n) for n in ground[4:-1].split(",")) > 600) == (scheme == "light")
    page.context.close()
