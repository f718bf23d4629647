"""The report of a sweep: winners and their commands, what each dimension brings, and the page in a browser."""

import dataclasses
import html
import math
import re
import shlex

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, chromium
from sweeping import made_up_sweep, write

from edgepress.toolkit.cli.sweep import _show
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.reports import sweep_view
from edgepress.toolkit.reports.report import report
from edgepress.toolkit.reports.sweep_page import sweep_page
from edgepress.toolkit.reports.sweep_view import effects_of, seed_spread_pp, sweep_markdown

HOSTILE = '</style><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'


def test_a_dimension_brings_what_differs_between_files_that_are_equal_otherwise():
    effects = {(e.dimension, str(e.value)): e for e in effects_of(made_up_sweep())}
    size, int8, lenet = effects["size", "[48, 48]"], effects["to", "tflite-int8"], effects["arch", "lenet"]
    assert size.accuracy_pp == pytest.approx(2.0, abs=0.1)
    assert size.latency == pytest.approx(2.25)
    assert (size.size, size.pairs) == (pytest.approx(1.0), 27)
    assert int8.accuracy_pp == pytest.approx(-0.2, abs=0.01)
    assert (int8.latency, int8.size) == (pytest.approx(0.5), pytest.approx(0.3, rel=1e-3))
    assert lenet.latency == pytest.approx(7.5)
    assert "seed" not in {name for name, _ in effects}


def test_intervals_are_over_seeds_and_one_seed_has_none():
    (first, *_) = effects_of(made_up_sweep(seeds=1))
    assert first.low_pp is first.high_pp is None
    assert seed_spread_pp(made_up_sweep(seeds=1)) is None
    assert seed_spread_pp(made_up_sweep(seeds=9)) == pytest.approx(0.05, rel=0.4)
    sweep = made_up_sweep()
    size = next(e for e in effects_of(sweep) if e.dimension == "size")
    known = {(r.point["size"][0], r.point["seed"]): [] for r in sweep.rows if r.status == "ok"}
    for row in sweep.rows[:-1]:
        known[row.point["size"][0], row.point["seed"]].append(100 * row.val_accuracy)
    differences = [np.mean(known[48, seed]) - np.mean(known[32, seed]) for seed in range(3)]
    half = 4.302653 * np.std(differences, ddof=1) / math.sqrt(3)  # Student's t of two degrees of freedom
    assert (size.low_pp, size.high_pp) == pytest.approx((np.mean(differences) - half, np.mean(differences) + half))


def test_a_width_that_only_some_networks_have_does_not_keep_them_from_being_compared():
    sweep = made_up_sweep()
    plan = sweep.plan | {"dimensions": sweep.plan["dimensions"] | {"width": [0.25]}}
    effects = effects_of(dataclasses.replace(sweep, plan=plan))
    assert ("arch", "mobilenet-v1") in [(e.dimension, e.value) for e in effects]


def test_the_winners_commands_make_the_file_again():
    sweep = made_up_sweep()
    (accurate, *others) = sweep_view.winners(sweep)
    train, convert = (shlex.split(command) for command in accurate.commands)
    # Winners may share a training: its command is right twice, and in any order.
    train.remove("--resume")
    options = dict(zip(train[2::2], train[3::2], strict=True))
    point = accurate.row.point
    assert point["arch"] == "mobilenet-v1"
    assert options["--seed"] == str(point["seed"])
    assert options["--size"] == "48x48"
    assert (options["--width"], options["--epochs"], options["--color"]) == ("0.25", "8", "grey")
    assert convert == ["edgepress", "convert", f"{options['--out']}/model.keras", "--to", point["to"]]
    assert accurate.row.val_accuracy == max(row.val_accuracy for row in sweep.rows if row.val_accuracy)
    assert all(w.configuration.val_accuracy > accurate.configuration.val_accuracy - 0.01 for w in others)


def test_markdown_and_page_show_winners_front_and_effects(tmp_path):
    sweep = made_up_sweep()
    write(sweep, tmp_path)
    text = report(tmp_path, format="md").text
    assert text == sweep_markdown(sweep)
    assert text.count("```shell") == len({*sweep.winners.values()})
    assert sum(line.startswith("| size") for line in text.splitlines()) == 1
    made = report(tmp_path)
    assert made.out == tmp_path / "report.html"
    page = made.out.read_text()
    assert page.count('<g class="point') == 2 * len(sweep.configurations)
    for path in re.findall(r'transform="translate\(([\d.]+),([\d.]+)\)"', page):
        x, y = map(float, path)
        assert 52 <= x <= 466
        assert 12 <= y <= 260
    assert "1 stopped early" in page
    assert not re.search(r"\bNone\b|\bnan\b|undefined", page)
    with pytest.raises(InputError, match="card"):
        report(tmp_path, format="card")


def test_a_sweep_of_one_file_without_times_has_a_report():
    sweep = made_up_sweep(seeds=1)
    rows = (dataclasses.replace(sweep.rows[0], latency_us=None),)
    one = dataclasses.replace(sweep.configurations[0], rows=(0,), best=0, latency_us=None, on_front=True)
    small = dataclasses.replace(sweep, rows=rows, configurations=(one,), winners={"accurate": 0})
    assert sweep_page(small).count("<figure>") == 1
    assert "1 files of 1 trainings" in sweep_markdown(small)
    empty = dataclasses.replace(small, rows=(), configurations=(), winners={})
    assert "No file was made" in sweep_page(empty)
    assert not math.isnan(len(sweep_markdown(empty)))


@pytest.mark.slow
@NEEDS_CHROMIUM
def test_the_page_opens_without_a_complaint_and_fits_a_phone(tmp_path):
    sweep = made_up_sweep(source=HOSTILE)
    path = tmp_path / "report.html"
    path.write_text(sweep_page(dataclasses.replace(sweep, notes=(HOSTILE,))))
    with chromium() as start:
        browser = start()
        for width in (1280, 360):
            tab = browser.new_page(viewport={"width": width, "height": 800})
            complaints = []
            tab.on("console", lambda message, found=complaints: found.append(message.text))
            tab.goto(path.as_uri())
            assert tab.evaluate("window.hacked === undefined")
            assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            cells = "[...document.querySelectorAll('.rows tbody th')].map(c => c.getBoundingClientRect().bottom)"
            texts = "[...document.querySelectorAll('.rows .who')].map(c => c.getBoundingClientRect().bottom)"
            below = [text - cell for text, cell in zip(tab.evaluate(texts), tab.evaluate(cells), strict=True)]
            assert max(below) < 1, "names of values lay below the bars"
            assert complaints == []


def test_a_row_has_means_over_seeds_alone_and_a_winner_s_file_has_those_of_its_seed():
    sweep = made_up_sweep(seeds=3)
    c = sweep.configurations[0]
    rows = [sweep.rows[n] for n in c.rows]
    for name in ("accuracy", "size_bytes", "latency_us"):
        assert getattr(c, name) == pytest.approx(np.mean([getattr(row, name) for row in rows]), abs=0.51)
    winner = sweep_view.winners(sweep)[0]
    said = sweep_view.file_of(winner, sweep)
    assert f"best seed on validation items, {winner.row.point['seed']}: " in said
    assert f"test {100 * winner.row.accuracy:.2f} %" in said.replace("\N{NO-BREAK SPACE}", " ")
    assert sweep_view.about_seeds(sweep).startswith("All figures are means over 3 seeds")
    for text in (sweep_markdown(sweep), sweep_page(sweep)):
        assert "Between seeds, validation accuracy differs by" in text
        assert said in html.unescape(text)
        assert "(SD " in text
    one = made_up_sweep(seeds=1)
    assert "--seeds 3" in sweep_view.about_seeds(one)
    assert "(SD " not in sweep_markdown(one)


@pytest.mark.parametrize(("seeds", "known"), [(1, False), (2, False), (3, True)])
def test_an_interval_needs_three_seeds(seeds: int, known: bool):
    sweep = made_up_sweep(seeds=seeds)
    for effect in effects_of(sweep):
        assert (effect.low_pp is not None) == known
        assert ("too few seeds" in sweep_view.effect_of(effect)) != known
    assert ("too few seeds" in sweep_page(sweep)) != known


def test_no_interval_of_a_difference_is_beyond_what_can_be():
    sweep = made_up_sweep(seeds=3)
    wild = tuple(
        dataclasses.replace(row, val_accuracy=float(row.point["seed"] % 2 == len(str(row.point["to"])) % 2))
        for row in sweep.rows
        if row.status == "ok"
    )
    effects = effects_of(dataclasses.replace(sweep, rows=wild))
    assert any(abs(effect.low_pp or 0) == 100 or abs(effect.high_pp or 0) == 100 for effect in effects)
    assert all(-100 <= (effect.low_pp or 0) <= (effect.high_pp or 0) <= 100 for effect in effects)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_screen_says_how_far_seeds_differ(seeds: int, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    sweep = made_up_sweep(seeds=seeds)
    _show(sweep, tmp_path)
    shown = capsys.readouterr().out
    assert " ".join(sweep_view.about_seeds(sweep).split()) in " ".join(shown.split())
    assert ("Between seeds, validation accuracy differs by" in shown) == (seeds == 3)
    assert (re.search(r"\(SD \d", shown) is not None) == (seeds == 3)


@pytest.mark.parametrize(("name", "said"), [("recommended", "Recommended"), ("accurate", "Most accurate")])
def test_the_headline_names_what_is_recommended_if_anything_is(name: str, said: str):
    sweep = made_up_sweep()
    last = len(sweep.configurations) - 1
    won = {"accurate": 0, "recommended": last} if name == "recommended" else {"accurate": last}
    changed = dataclasses.replace(sweep, winners=won)
    shown = html.escape(sweep_view.name_of(sweep.configurations[last].point, sweep))
    assert f"<h1>{said}: <em>{shown}</em></h1>" in sweep_page(changed)
