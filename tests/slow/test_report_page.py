"""The report in a browser: Debian's chromium, without a screen, opening the page as a file."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM, assert_nothing_gets_out, axe_findings, chromium
from hearing import drawn_stream, write_stream

from edgepress.toolkit import columns
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.reports.stream_page import stream_page
from edgepress.toolkit.results.records import Advice, Benchmark
from edgepress.toolkit.results.remarks.facts import Remark
from edgepress.toolkit.results.streams import load_stream

pytestmark = NEEDS_CHROMIUM
ROOT = Path(__file__).parents[2]
HOSTILE = '</script></style><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">{{ 7 * 7 }}\'"&lt;'


@pytest.fixture(scope="module")
def result() -> Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "pages"))
        made: Benchmark = importlib.import_module("report_document").made_up_benchmark(boards=True)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as start:
        yield start()


class Opened:
    """A page in a tab of its own, with what it complained of and what it asked a network for."""

    def __init__(self, browser: Any, text: str, path: Path, **options: Any) -> None:
        path.write_text(text)
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready=yes]")
        self.asked = [url for url in self.requests if not url.startswith(("data:", path.as_uri()))]

    def text(self, selector: str) -> list[str]:
        texts: list[str] = self.tab.locator(selector).all_inner_texts()
        return texts


@pytest.fixture(scope="module")
def opened(browser: Any, result: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened(browser, page(result), tmp_path_factory.mktemp("page") / "report.html")


def test_it_opens_without_a_complaint_and_without_a_network(opened: Opened) -> None:
    assert opened.complaints == []
    assert opened.asked == []
    assert opened.tab.locator("#plots figure").count() == 3, "size, and latency on each of two hosts"
    assert opened.tab.locator("#plots figure").nth(1).locator(".point").count() == 27
    assert opened.tab.locator("td.g svg").count() == opened.tab.locator("td.g").count() > 54
    assert "Ship tflite-int8 on litert" in opened.tab.title()


def test_every_point_and_bar_lies_inside_its_plot(opened: Opened) -> None:
    outside = opened.tab.evaluate(
        """() => [...document.querySelectorAll("#plots svg")].flatMap((svg) => {
             const frame = svg.getBoundingClientRect();
             return [...svg.querySelectorAll(".point use, .name")].filter((part) => {
               const box = part.getBoundingClientRect();
               return box.left < frame.left || box.right > frame.right || box.top < frame.top
                 || box.bottom > frame.bottom;
             }).map((part) => part.outerHTML);
           })"""
    )
    assert outside == []


@pytest.mark.parametrize("width", [1280, 700, 500, 375])
def test_a_name_in_a_plot_is_nearest_to_its_own_point(
    width: int, browser: Any, result: Benchmark, tmp_path: Path
) -> None:
    """Before, on a phone, another file's name stood above the ringed point of the file to ship."""
    crowded = replace(
        result,
        results=tuple(
            replace(r, accuracy=0.9, size_bytes=50_000 + 2_000 * number) for number, r in enumerate(result.results)
        ),
    )
    for number, one in enumerate((result, crowded)):
        shown = Opened(browser, page(one), tmp_path / f"{number}.html", viewport={"width": width, "height": 900})
        wrong = shown.tab.evaluate(
            """() => [...document.querySelectorAll("#plots svg")].flatMap((svg) => {
                 const points = [...svg.querySelectorAll(".point")].map((point) => {
                   const box = point.querySelector("use").getBoundingClientRect();
                   return { x: box.x + box.width / 2, y: box.y + box.height / 2, name: point.ariaLabel };
                 });
                 return [...svg.querySelectorAll(".name")].map((name) => {
                   const box = name.getBoundingClientRect();
                   const gap = (p) => Math.hypot(Math.max(box.left - p.x, 0, p.x - box.right),
                     Math.max(box.top - p.y, 0, p.y - box.bottom));
                   return [name.textContent, points.sort((a, b) => gap(a) - gap(b))[0].name];
                 }).filter(([text, nearest]) => !text.includes("↓") && !nearest.startsWith(text));
               })"""
        )
        shown.context.close()
        assert wrong == []


def test_several_threads_and_batches_are_told_apart_and_plots_show_the_first(
    browser: Any, result: Benchmark, tmp_path: Path
) -> None:
    here = [r for r in result.results if not r.host][:9]
    more = [replace(r, threads=2, batch=8, p50_us=3 * (r.p50_us or 0.0), profile=()) for r in here]
    opened = Opened(browser, page(replace(result, results=(*here, *more))), tmp_path / "report.html")
    assert [f.locator(".point").count() for f in opened.tab.locator("#plots figure").all()] == [9, 9]
    assert opened.tab.locator("#accuracy tbody tr").count() == 9, "a drop does not depend on threads"
    rows = opened.text(".all tbody th")
    assert len(set(rows)) == len(rows) == 18
    assert sum("2 threads, 8 items" in text for text in rows) == 9
    headings = opened.text("#settings thead th")
    assert headings == ["File", "1 thread", "2 threads, 8 items"]
    shown = [text.replace("\N{NO-BREAK SPACE}", " ") for text in opened.text("#settings tbody td.num")[:2]]
    wanted = [columns.duration(r.p50_us).replace("\N{NO-BREAK SPACE}", " ") for r in (here[0], more[0])]
    assert shown == wanted
    options = opened.text("#choice option")
    assert len(set(options)) == len(options)
    assert opened.complaints == []
    opened.context.close()


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(opened: Opened) -> None:
    heading = opened.tab.locator(".all thead button", has_text="Latency")
    column = 1 + opened.text(".all thead th").index("Latency")
    values = f".all tbody td:nth-child({column})"

    def order() -> list[float]:
        return [float(v) for v in opened.tab.locator(values).evaluate_all("cells => cells.map((c) => c.dataset.v)")]

    heading.click()
    assert order() == sorted(order())
    assert opened.tab.locator(".all th[aria-sort=ascending]").all_inner_texts() == ["Latency"]
    heading.press("Enter")
    assert order() == sorted(order(), reverse=True)
    opened.tab.locator(".all thead button", has_text="File").click()
    names = opened.text(".all tbody th")
    assert names == sorted(names)


OVER = "box => box.scrollWidth - box.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_table_of_all_files_fits_into_a_window_and_a_phone(
    browser: Any, result: Benchmark, tmp_path: Path, width: int, scheme: str
) -> None:
    here = replace(result, results=tuple(r for r in result.results if not r.host))
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    opened = Opened(browser, page(here), tmp_path / "report.html", **options)
    box, hidden = opened.tab.locator("#files .scroll"), opened.tab.locator(".all tbody tr:first-child .rest")
    shown = opened.tab.locator(".all tbody tr:first-child td:visible").count()
    assert box.evaluate(OVER) == 0
    assert opened.tab.locator("html").evaluate(OVER) == 0
    assert hidden.count() >= 4
    assert not any(cell.is_visible() for cell in hidden.all())
    opened.tab.get_by_label("All columns").check()
    assert opened.tab.locator(".all tbody tr:first-child td:visible").count() == shown + hidden.count()
    assert (box.evaluate(OVER) == 0) == (width == 375), "a phone shows a row as a card, whatever it holds"
    opened.context.close()


def test_a_point_tells_its_figures_to_pointer_keyboard_and_screen_reader(opened: Opened) -> None:
    plot = opened.tab.locator("#plots figure").first
    assert plot.locator(".point[tabindex='0']").count() == 1, "one stop for the tab key"
    opened.tab.locator(".legend button").last.focus()
    opened.tab.keyboard.press("Tab")
    assert "tflite-int8 on litert" in opened.text("#tip b")[0], "it begins with the shipped file"
    opened.tab.keyboard.press("Tab")
    assert opened.tab.evaluate("document.activeElement.closest('figure') === document.querySelectorAll('figure')[1]")
    opened.tab.keyboard.press("Shift+Tab")
    opened.tab.keyboard.press("Home")
    first = opened.text("#tip b")[0]
    opened.tab.keyboard.press("ArrowRight")
    assert opened.text("#tip b")[0] != first
    name = opened.tab.evaluate("document.activeElement.getAttribute('aria-label')")
    assert name.startswith(opened.text("#tip b")[0])
    assert all(word in name for word in ("Accuracy", "Drop", "Size", "Latency"))
    opened.tab.keyboard.press("Enter")
    assert opened.tab.evaluate("document.getElementById('choice').selectedOptions[0].textContent") in name
    assert not opened.tab.locator("#tip").is_visible()
    point = opened.tab.locator("#plots figure").first.locator(".point use").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    opened.tab.mouse.move(box["x"] + 4, box["y"] + 4)
    assert opened.tab.locator("#tip").is_visible()
    opened.tab.mouse.move(5, 5)
    assert not opened.tab.locator("#tip").is_visible()
    assert opened.complaints == []


def test_the_legend_hides_and_shows_a_scheme(opened: Opened) -> None:
    button = opened.tab.locator(".legend button", has_text="onnx-dynamic")
    hidden = opened.tab.locator(".point.off")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert hidden.count() == 3 * 3, "three engines in three plots"
    button.press(" ")
    assert hidden.count() == 0


def test_a_curve_is_drawn_for_each_calibrated_file_with_a_mark_at_its_threshold(
    opened: Opened, result: Benchmark
) -> None:
    drawn = len(result.leading())
    assert opened.tab.locator("#curves path.curve").count() == drawn
    assert opened.tab.locator("#curves use").count() == drawn
    frame = opened.tab.locator("#curves svg").bounding_box()
    assert frame is not None
    for box in (mark.bounding_box() for mark in opened.tab.locator("#curves use").all()[:5]):
        assert frame["x"] < box["x"] < frame["x"] + frame["width"]
        assert frame["y"] < box["y"] < frame["y"] + frame["height"]


def test_the_closer_look_shows_the_chosen_file_beside_the_baseline(opened: Opened, result: Benchmark) -> None:
    chosen = next(r for r in result.results if r.scheme == "onnx-dynamic" and r.engine == "litert")
    opened.tab.locator("#choice").select_option(label="onnx-dynamic on litert, bench")
    captions = [text.partition(" true class")[0] for text in opened.text("#closer .matrix caption")]
    assert captions == ["tflite-float32 on litert, bench", "onnx-dynamic on litert, bench"]
    diagonal = opened.tab.locator("#closer .matrix").nth(1).locator("tbody tr").first.locator("td").first
    assert diagonal.inner_text() == str(chosen.confusion_matrix[0][0])
    drops = [c.drop_pp or 0.0 for c in chosen.per_class]
    worst = chosen.per_class[drops.index(max(drops))].label
    assert opened.text("#closer .rows tbody th")[0] == worst
    assert len(opened.text("#closer .flame")) == 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_axe_finds_nothing_and_nothing_hangs_over(
    browser: Any, result: Benchmark, tmp_path: Path, scheme: str, width: int
) -> None:
    """On a few rows, as axe takes its time; benchmarks/pages/report_page.py does it on 27."""
    few = replace(result, results=result.results[8:11] + result.results[35:37], disagreements=result.disagreements[:2])
    size = {"width": width, "height": 740}
    opened = Opened(browser, page(few), tmp_path / "report.html", viewport=size, color_scheme=scheme)
    opened.tab.locator("details").evaluate_all("parts => parts.forEach((part) => (part.open = true))")
    assert axe_findings(opened.tab) == []
    assert opened.tab.evaluate("document.documentElement.scrollWidth") == width
    ground = opened.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(n) for n in ground[4:-1].split(",")) > 600) == (scheme == "light")
    opened.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1280)])
@pytest.mark.parametrize("compared", [False, True])
def test_axe_finds_nothing_on_the_page_of_recordings(
    compared: bool, scheme: str, width: int, browser: Any, tmp_path: Path
) -> None:
    noises = {"new": 0.3, "old": 0.6}
    new, old = (load_stream(write_stream(tmp_path / name, drawn_stream(1, noise=n))) for name, n in noises.items())
    path = tmp_path / "report.html"
    path.write_text(stream_page(new, old) if compared else stream_page(new))
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert axe_findings(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def test_a_phone_shows_headings_that_open(browser: Any, result: Benchmark, tmp_path: Path) -> None:
    phone = {"width": 390, "height": 844}
    shown = Opened(browser, page(result), tmp_path / "phone.html", viewport=phone)
    wide = Opened(browser, page(result), tmp_path / "wide.html")
    sections = shown.tab.locator("main > section").count()
    assert sections > 6
    assert wide.tab.locator("section.folded, h2 button").count() == 0
    assert shown.tab.locator("section.folded").count() == sections - 2, "the plots and the table stay open"
    folded = shown.tab.evaluate("document.documentElement.scrollHeight")
    latency = shown.tab.locator("#latency h2 button")
    assert latency.get_attribute("aria-expanded") == "false"
    assert not shown.tab.locator("#latency table").first.is_visible()
    latency.focus()
    shown.tab.keyboard.press("Enter")
    assert latency.get_attribute("aria-expanded") == "true"
    assert shown.tab.locator("#latency table").first.is_visible()
    shown.tab.locator("nav a[href='#accuracy']").click()
    shown.tab.wait_for_selector("#accuracy:not(.folded)")
    shown.tab.locator("#plots .point").first.press("Enter")
    shown.tab.wait_for_selector("#closer:not(.folded)")
    assert shown.tab.locator("#closer-body").inner_text()
    latency.click()
    assert shown.tab.locator("#latency.folded").count() == 1
    shown.tab.emulate_media(media="print")
    shown.tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.tab.locator("section.folded").count() == 0
    shown.tab.emulate_media(media="screen")
    assert shown.tab.evaluate("document.documentElement.scrollHeight") > 1.5 * folded
    assert shown.complaints == []


def test_print_shows_all_of_it_on_white(opened: Opened) -> None:
    opened.tab.emulate_media(media="print", color_scheme="dark")
    assert opened.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.tab.locator("nav").is_visible()
    opened.tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.tab.locator("details:not([open])").count() == 0
    cut = "boxes => boxes.filter((box) => getComputedStyle(box).overflowX !== 'visible').length"
    assert opened.tab.locator(".scroll").evaluate_all(cut) == 0
    opened.tab.emulate_media(media="screen", color_scheme="light")


def test_hostile_texts_stay_texts(browser: Any, result: Benchmark, tmp_path: Path) -> None:
    rows = tuple(
        replace(
            r,
            file=f"{HOSTILE}/{r.file}",
            scheme="",
            engine=HOSTILE,
            status=f"failed: {HOSTILE}",
            verdict=HOSTILE,
            per_class=tuple(replace(c, label=HOSTILE + c.label) for c in r.per_class),
            profile=tuple(replace(o, operation=HOSTILE) for o in r.profile),
        )
        for r in result.results
    )
    bad = replace(
        result,
        results=rows,
        host=result.host | {"name": HOSTILE, "cpu": HOSTILE},
        data=result.data | {"source": HOSTILE},
        notes=(HOSTILE,),
        remarks=(Remark(kind=HOSTILE, text=HOSTILE, command=HOSTILE),),
        advice=Advice(ship=rows[0].file, engine=HOSTILE, why=HOSTILE),
        disagreements=tuple(replace(d, name=HOSTILE, label=HOSTILE, png='"><script>') for d in result.disagreements),
        provenance={"command": HOSTILE, HOSTILE: HOSTILE, "contract": {HOSTILE: HOSTILE}},
    )
    opened = Opened(browser, page(bad), tmp_path / "report.html")
    assert opened.tab.evaluate("window.hacked") is None
    assert opened.asked == []
    assert opened.complaints == []
    *_, note, remark = opened.tab.locator(".notice").all()
    assert HOSTILE in note.inner_text()
    assert remark.inner_text().count(HOSTILE) == 2
    assert opened.tab.locator("script:not([type])").count() == 4, "no script but ours"
    assert_nothing_gets_out(opened.tab)
    opened.context.close()
