# SPDX-License-Identifier: GPL-2.0-only
"""The report in a real browser: from disk, alone, on a phone, in the dark, on paper.

Skipped, with the reason, where there is no Chromium or no library for Playwright; in
CI that is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.aggregate import aggregate_experiment
from tests.unit import analysis_fixtures as fx

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1300


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    # What Playwright's own driver is linked against
    needed = {"chromium": program, "libatomic1": find_library("atomic")}
    if absent := " ".join(name for name, found in needed.items() if found is None):
        if os.environ.get("CI"):
            pytest.fail(f"the report must be tested in CI: apt-get install {absent}")
        pytest.skip(f"no {absent}: apt-get install {absent}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    return aggregate_experiment(fx.typical(directory / "e", fx.arms(3))).report


@dataclass
class Opened:
    """A page, what its console said, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def number(self, script: str) -> float:
        return float(self.page.evaluate(script))


def opened(
    browser: Browser,
    report: Path,
    width: int,
    scheme: Literal["light", "dark"] = "light",
    **media: Any,
) -> Opened:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    found = Opened(context.new_page())
    found.page.on("console", lambda message: found.said.append(message.text))
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    if media:
        found.page.emulate_media(**media)
    found.page.goto(report.as_uri())
    return found


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_loads_alone_and_fits(browser: Browser, report: Path, width: int) -> None:
    found = opened(browser, report, width)
    assert found.said == []
    assert found.requests == [report.as_uri()]
    # Wide tables scroll by themselves; the page does not
    assert found.number("document.documentElement.scrollWidth") <= width
    assert found.page.locator("h2").first.inner_text() == "In short"
    assert found.page.locator("svg").count() >= 4


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_figures_are_as_wide_as_there_is_room(
    browser: Browser, report: Path, width: int
) -> None:
    found = opened(browser, report, width)
    for figure in found.page.locator("svg").all():
        box = figure.bounding_box()
        assert box is not None
        assert 0.25 * width < box["width"] <= width


def luminance(found: Opened, property_: str) -> float:
    """0 for black, 255 for white, of the body's colour."""
    colour = found.page.evaluate(f"getComputedStyle(document.body).{property_}")
    return float(sum(map(float, colour[colour.index("(") + 1 : -1].split(",")[:3])) / 3)


def test_it_follows_the_scheme_of_the_reader(browser: Browser, report: Path) -> None:
    light, dark = (opened(browser, report, DESK, s) for s in ("light", "dark"))
    assert luminance(light, "backgroundColor") > 200 > 100 > luminance(light, "color")
    assert luminance(dark, "backgroundColor") < 60 < 150 < luminance(dark, "color")


def test_on_paper_it_is_dark_on_white(browser: Browser, report: Path) -> None:
    found = opened(browser, report, DESK, "dark", media="print")
    assert luminance(found, "backgroundColor") > 200 > luminance(found, "color")
    assert found.page.pdf()[:5] == b"%PDF-"


def test_logs_are_folded_and_open(browser: Browser, report: Path) -> None:
    found = opened(browser, report, DESK)
    folded = found.page.locator("details:not([open])")
    before = folded.count()
    assert before >= 2
    folded.first.locator("summary").first.click()
    assert folded.count() == before - 1
