"""No page has a serious fault according to axe-core, whose rules are those of WCAG 2.2."""

from importlib.resources import files

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), pytest.mark.filterwarnings("ignore::ResourceWarning")]

CHECK = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations))"
PAGES = ("", "labels", "labels?mode=grid", "confusion", "duplicates", "quality", "images", "map", "decisions", "search", "compare")


def test_no_page_has_a_serious_fault(own_run, served, browsed):
    pytest.importorskip("selenium_axe_python")
    axe = files("selenium_axe_python").joinpath("axe-core/axe.min.js").read_text(encoding="utf-8")
    faults = []
    with served(own_run) as address, browsed(address) as browser:
        for number, page in enumerate(PAGES):
            theme = ("light", "dark")[number % 2]
            browser.size(1280, 720, theme)
            browser.open(page)
            browser.until(lambda: browser.driver.execute_script("return document.querySelector('h1')?.innerText"), "a heading")
            browser.settles()
            browser.driver.execute_script(axe)
            for fault in browser.driver.execute_async_script(CHECK):
                if fault["impact"] in ("serious", "critical"):
                    faults += [(page, theme, fault["id"], node["html"][:200]) for node in fault["nodes"]]
    assert faults == []
