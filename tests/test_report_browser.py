"""
The report as a browser shows it: Debian's chromium, headless.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

from .lived_in import HOSTILE, HOSTILE_JOB, lived_in
from .stage import Stage

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "device_scale_factor": 2}
DARK = {"color_scheme": "dark"}


@pytest.fixture(scope="module")
def browser():
    """
    A browser for the tests of this module.
    """
    program = shutil.which("chromium")
    if program is None:
        why = "these tests need chromium: install it with the system's packages"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # may run as root
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """
    Where the report about an inventory that has lived lies.
    """
    folder = tmp_path_factory.mktemp("browser")
    with Stage(f"sqlite:///{folder / 'test.db'}") as stage:
        yield lived_in(stage).report(folder / "report.html").as_uri()


@pytest.fixture
def shown(browser, address):
    """
    Shows the page under some circumstances; afterwards nothing was asked of a network, and nothing complained.
    """
    heard, asked = [], []

    @contextmanager
    def show(**circumstances):
        context = browser.new_context(**circumstances)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        context.close()

    yield show
    assert heard == []
    assert {url for url in asked if not url.startswith("data:,")} == {address}


def test_shows_the_jobs(shown):
    """
    Behaviour: content, links and details work without a script.
    """
    with shown() as page:
        assert page.title().startswith("Inventory report, 2026-03-03")
        assert page.locator("h2").all_inner_texts() == ["All 2 jobs", "bronze_events", HOSTILE_JOB]
        assert page.get_by_role("img", name="Coverage of job bronze_events").is_visible()
        assert "10 dead" in page.get_by_role("img", name="Coverage of job bronze_events").locator("desc").text_content()
        page.get_by_role("link", name="bronze_events").click()
        page.get_by_text("ValueError: corrupt").first.click()
        assert page.locator("pre").nth(1).is_visible()
        assert "Traceback" in page.locator("pre").nth(1).inner_text()


def test_names_that_are_markup_are_text(shown):
    """
    Behaviour: an item, a job and an error that are scripts are shown, and nothing of them runs.
    """
    with shown() as page:
        assert page.evaluate("window.hacked") is None
        assert page.locator("td.item code", has_text=HOSTILE).first.is_visible()
        assert page.locator("script, img:not([role])").count() == 0


def test_dark_where_dark_is_preferred(shown):
    """
    Behaviour: the page follows the reader's preference, and text stands out from paper in both.
    """
    for circumstances, is_dark in (({"color_scheme": "light"}, False), (DARK, True)):
        with shown(**circumstances) as page:
            paper, ink = (_luminance(page, "body", name) for name in ("background-color", "color"))
            assert (paper < 0.1) is is_dark
            for place, name in (("body", "color"), (".note", "color"), ("a[href^='#job']", "color")):
                assert _contrast(paper, _luminance(page, place, name)) >= 4.5
            assert ink != paper
            for state in ("done", "failed", "dead", "late", "running", "skipped", "untouched"):
                assert _contrast(paper, _luminance(page, f".strip .{state}", "fill")) >= 3, state


def test_a_phone_is_wide_enough(shown):
    """
    Behaviour: nothing is wider than a phone; wide tables scroll by themselves, and can be reached by keyboard.
    """
    with shown(**PHONE) as page:
        for details in page.locator("summary").all():
            details.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("[...document.querySelectorAll('.scroll')].some(one => one.scrollWidth > one.clientWidth)")
        assert page.evaluate("[...document.querySelectorAll('.scroll')].every(one => one.tabIndex === 0)")


def test_can_be_worked_by_keyboard(shown):
    """
    Behaviour: the first key leads to the jobs, and where one is can be seen.
    """
    with shown() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the jobs"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "bronze_events"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_prints_everything_on_white(shown):
    """
    Behaviour: on paper there is no dark background, messages are unfolded, and nothing runs off its side.
    """
    with shown(**DARK, viewport={"width": 718, "height": 1000}) as page:  # A4 between its margins
        page.emulate_media(media="print")
        assert _luminance(page, "body", "background-color") == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 718
        assert page.locator("pre").first.bounding_box()["height"] > 20
        assert page.pdf().startswith(b"%PDF")


def _luminance(page, place, name):
    """
    Relative luminance of a colour, as WCAG defines it.
    """
    colour = page.evaluate(
        "([place, name]) => getComputedStyle(document.querySelector(place)).getPropertyValue(name)", [place, name]
    )
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
