"""The review panel in Chromium: layout, keys, pairs, the grid, and images without findings."""

import json
import time

import pytest

from audit import open_run
from audit.explain.projection import project
from audit.review.decisions import Decisions

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), pytest.mark.filterwarnings("ignore::ResourceWarning")]

FITS = """const card = document.querySelector('.ia-card').getBoundingClientRect(), bar = document.querySelector('.ia-bar').getBoundingClientRect();
const inside = (selector) => [...document.querySelectorAll(selector)].every((one) => {
    const box = one.getBoundingClientRect();
    return box.width > 20 && box.height > 20 && box.top >= bar.bottom - 1 && box.bottom <= innerHeight && box.right <= innerWidth;
});
return [bar.top >= 0 && bar.height < 110, card.bottom <= innerHeight,
    ...['.ia-pictures img', '.ia-examples .ia-thumb', '.ia-near .ia-thumb'].map(inside)]"""
ONE_COLUMN = """const picture = document.querySelector('.ia-pictures img').getBoundingClientRect();
return document.documentElement.scrollWidth <= innerWidth && picture.top < 330 && picture.height > 200"""
PRESS = "(key) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
QUICKLY = f"""const [keys, done] = arguments, press = {PRESS}, left = [...keys];
const next = () => left.length ? (press(left.shift()), setTimeout(next, 250)) : done(true);
next();"""
"""Press keys, four a second."""


def decisions(run):
    return Decisions(run).current()


def test_review_fits_the_screen(own_run, served, browsed):
    with served(own_run) as address, browsed(address) as browser:
        browser.size(1440, 900)
        browser.open("labels")
        browser.sees("Finding 1 of")
        for shown in ("a pair", "an image"):
            for width, height, theme in ((1440, 900, "light"), (1280, 720, "dark")):
                browser.size(width, height, theme)
                browser.settles()
                browser.until(lambda: browser.driver.execute_script(FITS) == [True] * 5, f"{shown} to fit {width} x {height}")
            browser.press("u")
        browser.size(390, 844)
        browser.until(lambda: browser.driver.execute_script(ONE_COLUMN), "one column")
        assert browser.problems() == []


def test_keys_decide_at_once_and_none_is_lost(own_run, served, browsed):
    with served(own_run) as address, browsed(address) as browser:
        browser.open("images?mode=one")
        browser.sees("Image 1 of")
        browser.settles()
        keys = "kdukudkudukkduku"
        browser.driver.execute_async_script(QUICKLY, keys)
        browser.until(lambda: decisions(own_run)["sample_id"].nunique() >= len(keys), "all decisions")
        first = decisions(own_run).drop_duplicates("sample_id")
        assert first["verdict"].tolist() == [{"k": "keep", "d": "drop", "u": "unsure"}[key] for key in keys]
        browser.press("z")
        browser.until(lambda: decisions(own_run)["sample_id"].nunique() == len(keys) - 1, "undo")
        browser.sees("Undone")
        # A key decides nothing while the image is not shown yet, and a held key decides once.
        browser.driver.execute_script("Object.defineProperty(document.querySelector('.ia-pictures img'), 'complete', {value: false})")
        browser.press("d")
        browser.sees("nothing was decided")
        browser.driver.execute_script("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'd', bubbles: true, repeat: true}))")
        shown = browser.card()
        browser.press("n")
        browser.press("dd")  # typed into the note
        time.sleep(0.5)
        assert browser.card() == shown
        assert decisions(own_run)["sample_id"].nunique() == len(keys) - 1
        browser.driver.refresh()
        browser.until(lambda: browser.card() == shown, "the same card after a reload")
        browser.settles()
        browser.press("e")
        browser.until(lambda: browser.driver.execute_script("return document.querySelector('.ia-large').open"), "the enlarged image")
        browser.press("k")
        browser.press("e")
        assert browser.card() == shown, "keys decide nothing while an image is enlarged"
        assert browser.problems() == []


def test_classes_have_keys_and_a_pair_is_one_card(own_run, served, browsed):
    from selenium.webdriver.common.keys import Keys

    run = open_run(own_run)
    conflict = run.findings_page({"check": "conflicting_labels"}).rows
    wrong = run.findings_page({"check": "label_errors", "sample_id": "train/cat/mislabelled.jpg"}).rows.iloc[0]
    with served(own_run) as address, browsed(address) as browser:
        browser.open(f"labels?finding={wrong['finding_id']}")
        browser.until(lambda: browser.card() == wrong["finding_id"], "the linked finding")
        browser.settles()
        browser.press("1")
        browser.until(lambda: len(decisions(own_run)) == 1, "a relabel")
        assert decisions(own_run)[["verdict", "label"]].iloc[0].tolist() == ["relabel", wrong["suggested_label"]]
        browser.press("z")
        browser.until(lambda: decisions(own_run).empty, "undo")
        browser.until(lambda: browser.card() == wrong["finding_id"], "the undone finding")
        browser.settles()
        browser.press("r")
        browser.press("retina")
        browser.press(Keys.ENTER)
        browser.until(lambda: len(decisions(own_run)) == 1, "another class")
        assert decisions(own_run)["label"].tolist() == ["retina"]
        browser.open(f"labels?finding={conflict['finding_id'].iloc[0]}")
        browser.sees("Both are right")
        browser.settles()
        label = browser.driver.execute_script("return document.querySelectorAll('.ia-pictures figcaption b')[1].innerText")
        browser.press("1")
        browser.until(lambda: set(conflict["finding_id"]) <= set(decisions(own_run)["finding_id"]), "both halves")
        halves = decisions(own_run).set_index("finding_id").loc[conflict["finding_id"]]
        assert sorted(halves["verdict"]) == ["accept", "relabel"]
        assert halves["label"].dropna().unique().tolist() == [label]
        assert json.dumps(browser.problems()) == "[]"


def test_grid_decides_about_many_and_any_image(own_run, served, browsed):
    with served(own_run) as address, browsed(address) as browser:
        browser.open("images?labels=retina&state=undecided")
        browser.sees("Page 1 of")
        browser.settles()
        retina = int((open_run(own_run).samples["label"] == "retina").sum())
        browser.click(".ia-pick")
        browser.press("d")
        browser.until(lambda: decisions(own_run)["sample_id"].nunique() == 1, "one decision")
        browser.sees(f"{retina - 1} images")
        browser.click("button", "Select all")
        browser.sees(f"{retina - 1} selected")
        browser.press("u")
        browser.sees("Nothing matches these filters")
        assert set(decisions(own_run)["given_label"]) == {"retina"}
        assert decisions(own_run)["sample_id"].nunique() == retina
        browser.press("z")
        browser.sees(f"{retina - 1} images")
        browser.open("labels?mode=grid")
        browser.sees("Page 1 of")
        browser.settles()
        browser.press("s")
        browser.press("1")
        browser.sees("Relabel: ")
        suggested = decisions(own_run)
        assert set(suggested.loc[suggested["check"] == "label_errors", "verdict"]) == {"relabel"}
        browser.click(".ia-tiletext .ia-link", "Open")
        browser.until(browser.card, "a card")
        browser.click(".ia-near .ia-link", "Show all")
        browser.sees("most similar to the first one")
        # The page continues where it was left.
        browser.go("Label errors")
        browser.until(lambda: "finding=" in browser.driver.current_url, "the finding in the address")
        assert browser.key_listeners() == 1
        assert browser.problems() == []


LASSO = """const canvas = document.querySelector('.ia-map'), box = canvas.getBoundingClientRect();
const send = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 1, buttons: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height,
}));
canvas.setPointerCapture = () => {};
send('pointerdown', 0.01, 0.01);
for (const [x, y] of [[0.3, 0.01], [0.99, 0.01], [0.99, 0.5], [0.99, 0.99], [0.01, 0.99], [0.01, 0.5]]) send('pointermove', x, y);
send('pointerup', 0.01, 0.5);"""


def test_a_selection_on_the_map_opens_as_a_grid(own_run, served, browsed):
    scanned = len(project(open_run(own_run)).rows)
    with served(own_run) as address, browsed(address) as browser:
        browser.size(1280, 720)
        browser.open("map")
        browser.sees(f"{scanned} images; similar ones are close")
        browser.settles()
        assert {"retina", "temple"} <= set(browser.text().split())
        browser.driver.execute_script(LASSO)
        browser.sees(f"{scanned} selected")
        browser.click("button", "Open as a grid")
        browser.sees("that you selected on the map")
        browser.sees(f"{scanned} images")
        browser.settles()
        browser.press("s")
        browser.press("u")
        browser.until(lambda: decisions(own_run)["sample_id"].nunique() == 48, "decisions about a page")
        assert browser.problems() == []
