"""The pages in headless Chromium, offline, at two widths and in print."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from flows.results.comparison import compare
from flows.results.page import write_page
from tasks.reporting.evaluation import Evaluation, Findings, Leak
from tests.support import two_sides
from tests.support.browser import CHROMIUM, open_browser
from tests.support.reports import evaluation, render_page

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: the page in a browser, since Chromium is not installed"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def _photographs() -> Evaluation:
    """Make wide photographs of many classes, with long names and all findings."""
    made = evaluation(n=400, n_classes=40, class_names=[f"class {n} {'of many ' * 9}" for n in range(40)])
    rng = np.random.default_rng(0)
    names = {split: [f"{'folder/' * 20}{file}" for file in files] for split, files in made.files.items()}
    findings = Findings(
        [Leak("test", row, row, "equal pixels") for row in range(20)],
        [("a" * 200, "b" * 200, "cat and dog")],
        [("c" * 200, "truncated")],
    )
    photograph = rng.integers(0, 256, (1, 150, 300, 3), dtype=np.uint8)
    images = {split: np.broadcast_to(photograph, (len(files), 150, 300, 3)) for split, files in names.items()}
    return replace(made, images=images, files=names, findings=findings, primary_metric="balanced_accuracy")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render_page(evaluation(n=400, n_classes=10)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared") / "repository"
    two_sides.begin_with_pictures(root)
    two_sides.write_of_pictures(root, range(0, 40))
    two_sides.commit(root)
    two_sides.write_of_pictures(root, range(10, 70))
    write_page(compare(root, "HEAD"), root / "compare.html")
    return root / "compare.html"


def test_a_page_of_photographs_with_long_names_is_whole(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(render_page(_photographs(), own_figures=True), encoding="utf-8")
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details:not(.picture)').forEach(d => d.open = true)")
    for width in (390, 1280):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    sizes = tab.evaluate("[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.width, i.height])")
    assert len(sizes) > 100
    assert {tuple(size) for size in sizes} == {(192, 96, 96, 48)}
    tab.set_viewport_size({"width": 390, "height": 900})
    for number, key in enumerate(("", "Enter")):  # the mouse, and the keyboard
        summary = tab.locator(".picture summary").nth(number)
        name = tab.locator(".picture code").nth(number)
        assert not name.is_visible()
        summary.press(key) if key else summary.click()
        assert tab.evaluate(f"document.images[{number}].getBoundingClientRect().width") == 3.5 * 96
        name.click()  # which selects it whole
        assert tab.evaluate("getSelection().toString()").count("folder/") == 20
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        summary.press(key) if key else summary.click()
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_is_whole(browser: Browser, report: Path, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    painted = tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth === 32)")
    assert len(painted) > 50
    assert all(painted)
    drawn = tab.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)")
    assert len(drawn) == 3
    assert min(drawn) > 250
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    ink = tab.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert ink == tab.evaluate("getComputedStyle(document.body).color")
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_of_two_sides_is_whole(browser: Browser, compared: Path, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(compared.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [compared.as_uri()]
    tab.evaluate("document.querySelectorAll('details:not(.picture)').forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth === 12)")
    assert tab.locator("figure img").count() == 24 + 10
    assert tab.locator(".drawing svg").count() == 5
    ink = tab.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert ink == tab.evaluate("getComputedStyle(document.body).color")
    assert tab.locator("nav a").count() == tab.evaluate("document.querySelectorAll('h2').length")
    context.close()


def test_print_is_ink_on_white_even_from_a_dark_screen(browser: Browser, report: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf()[:4] == b"%PDF"
    context.close()
