"""The review of labels: its page in Chromium, its server, and the command on real stages."""

import csv
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Page

from tasks import review
from tasks.data import arrays
from tasks.datasets.corrections import Correction, read_corrections, write_corrections
from tasks.evaluate import evaluate
from tasks.report import report
from tasks.reviewing.cards import encode
from tasks.reviewing.server import change_lines, make_app
from tasks.train import train
from tests.support import ROOT
from tests.support.arrays import BACKBONE, DATA, EVALUATED, FOLDS, HISTORY, MODEL, NAMES, REPORTED, SIZES, write_arrays
from tests.support.browser import CHROMIUM, open_browser
from tests.support.parameters import edit

CORRECTIONS = Path("data/corrections.csv")
CLASSES = ['a "quoted" one', "one, two", "<b>bold</b>", *(f"class {n}" for n in range(37))]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the review, since Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def make_review(n: int) -> review.Review:
    """Make cards of noise: one in ten is a pair, and the splits take turns."""
    rng = np.random.default_rng(0)

    def member(number: int, label: str) -> dict[str, str]:
        pixels = encode(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), 32)
        split = ("train", "test")[number % 2]
        about = {
            "image": f"{number:064x}",
            "file": f"{label}/{number}.png",
            "split": split,
            "was": label,
            "label": label,
        }
        return {**about, "picture": pixels}

    cards = []
    for number in range(n):
        label, suggested = (CLASSES[(number + k) % len(CLASSES)] for k in range(2))
        members = [member(number, label), *([member(10**6 + number, suggested)] if number % 10 == 9 else [])]
        choices = [[name, 0.1] for name in [suggested, label, *CLASSES[20:27]]]
        kind = "conflict" if len(members) > 1 else "doubt"
        near = [(label, [members[0]["picture"]] * 3)]
        cards.append({"kind": kind, "members": members, "suggested": suggested, "choices": choices, "near": near})
    fields = list(Correction._fields)
    about = {"project": "x", "classes": CLASSES, "splits": ["train", "test"], "fields": fields, "by": "me"}
    return review.Review({**about, "cards": cards, "more": 0})


def open_page(browser: Browser, path: Path, made: review.Review) -> Page:
    path.write_text(made.render(), encoding="utf-8")
    tab = browser.new_context(viewport={"width": 1000, "height": 900}).new_page()
    tab.on("pageerror", lambda error: pytest.fail(str(error)))
    tab.goto(path.as_uri())
    return tab


def saved(tab: Page, path: Path) -> dict[str, Correction]:
    with tab.expect_download() as download:
        tab.click("#save")
    download.value.save_as(path)
    return {line.file: line for line in read_corrections(path).values()}


@needs_chromium
@pytest.mark.usefixtures("workplace")
def test_labels_are_judged_by_the_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    earlier = Correction("f" * 64, "gone.png", "x", "y", "relabel", "you", "2026-01-01")
    CORRECTIONS.parent.mkdir()
    write_corrections(CORRECTIONS, [earlier])
    tab = open_page(browser, tmp_path / "review.html", made := make_review(12))
    for key in ("Enter", "r", "x", "3", "u", "9", "ArrowDown", "ArrowUp"):
        tab.keyboard.press(key)
    tab.keyboard.press("/")
    tab.keyboard.type("class 30")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#count") == "5 of 12 decided"
    assert tab.locator("article b").count() == 0
    tab.reload()
    assert tab.inner_text("#count") == "5 of 12 decided"
    for _ in range(4):
        tab.keyboard.press("r")
    tab.keyboard.press("Enter")  # the pair, which becomes one class
    found = saved(tab, tmp_path / "corrections.csv")
    decided = [(line.action, line.label) for line in found.values() if line.by == "me"]
    assert found["gone.png"] == earlier
    files = [member["file"] for card in made.content["cards"][:5] for member in card["members"]]
    expected = [
        ("relabel", CLASSES[1]), ("right", CLASSES[1]), ("leave_out", CLASSES[2]), ("relabel", CLASSES[26]),
        ("relabel", "class 30"),
    ]  # fmt: skip
    assert [(found[file].action, found[file].label) for file in files] == expected
    pair = [found[member["file"]] for member in made.content["cards"][9]["members"]]
    assert [(line.action, line.label) for line in pair] == [("relabel", CLASSES[10]), ("right", CLASSES[10])]
    assert len(decided) == 11


@needs_chromium
@pytest.mark.usefixtures("workplace")
def test_filters_show_some_cards_and_keys_stay_among_them(browser: Browser, tmp_path: Path) -> None:
    tab = open_page(browser, tmp_path / "review.html", make_review(60))
    tab.select_option("#split", "test")
    tab.select_option("#class", CLASSES[2])
    assert tab.locator("article:visible").count() == 2
    tab.keyboard.press("x")
    tab.select_option("#kind", "open")
    assert tab.locator("article:visible").count() == 1
    tab.keyboard.press("u")
    assert tab.inner_text("#count") == "0 of 60 decided"


@pytest.mark.slow
@needs_chromium
@pytest.mark.usefixtures("workplace")
def test_5000_cards_scroll_without_a_pause(browser: Browser, tmp_path: Path) -> None:
    tab = open_page(browser, tmp_path / "review.html", make_review(5_000))
    longest = tab.evaluate(
        """async () => {
            let longest = 0, before = performance.now();
            for (let n = 0; n < 120; n++) {
                scrollBy(0, 700);
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - before);
                before = performance.now();
            }
            return longest;
        }"""
    )
    assert tab.evaluate("scrollY") > 50_000
    assert longest < 400  # milliseconds; alone on two cores it is below 100


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve a page of three cards; return its origin and the corrections."""
    path, token = tmp_path / "corrections.csv", "secret"
    write_corrections(path, [])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(review, "corrections_path", lambda: path)
        app = make_app(lambda: make_review(3).render(f"/{token}/decisions"), path, token, origin)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield origin, path
        server.should_exit = True
        thread.join()


@needs_chromium
def test_the_served_page_saves_each_decision(browser: Browser, served: tuple[str, Path]) -> None:
    origin, path = served
    tab = browser.new_context().new_page()
    tab.goto(f"{origin}/secret/")
    for key, lines in (("Enter", 1), ("x", 2), ("u", 1)):
        with tab.expect_response("**/decisions"):
            tab.keyboard.press(key)
        assert len(read_corrections(path)) == lines
    tab.reload()
    assert tab.inner_text("#count") == "1 of 3 decided"
    assert tab.evaluate("localStorage.getItem('corrections x')") == "[]"  # an edit of the file counts
    path.write_text("damaged\n")
    with tab.expect_response("**/decisions"):
        tab.keyboard.press("x")
    tab.get_by_text("Not saved:").wait_for()
    assert "line 1 must be image" in tab.inner_text("#message")
    assert path.read_text() == "damaged\n"


def test_other_hosts_origins_and_addresses_are_refused(served: tuple[str, Path]) -> None:
    origin, path = served
    line = Correction("a" * 64, "x.png", "cat", "dog", "relabel", "me", "")
    body = [[json.dumps([line.image, line.was]), line._asdict()]]
    with httpx.Client(base_url=origin) as client:

        def post(json: Any, **headers: str) -> int:
            return client.post("/secret/decisions", json=json, headers=headers).status_code

        assert client.get("/secret/").status_code == 200
        assert client.get("/other/").status_code == 404
        assert client.get("/secret/", headers={"Host": "evil.example"}).status_code == 400
        assert (post(body), post(body, Origin="http://evil.example")) == (403, 403)
        assert post([["x", {}]], Origin=origin) == 409
        assert list(read_corrections(path)) == []
        assert post(body, Origin=origin) == 200
    assert list(read_corrections(path).values()) == [line]


def test_a_decision_that_cannot_be_written_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, line = tmp_path / "corrections.csv", Correction("a" * 64, "x.png", "cat", "dog", "relabel", "me", "")
    write_corrections(path, [line])
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.reviewing.server.write_corrections", fail)
    with pytest.raises(OSError, match="No space left"):
        change_lines(path, [(json.dumps([line.image, line.was]), None)])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["corrections.csv"]


@pytest.mark.slow
def test_the_command_shows_doubted_labels_until_a_person_has_judged_them(workplace: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", workplace)
    write_arrays(workplace / DATA, **SIZES)
    images, labels = arrays.load_split(DATA, "test", len(NAMES))
    labels[:3] = (labels[:3] + 1) % 4
    arrays.write_split(DATA, "test", arrays.files(DATA, "test"), labels, images.shape[1:], [images.copy()])
    arrays.write_description(DATA, NAMES, "crop", {"method": "x", "mean": [60.0] * 3, "std": [40.0] * 3})
    edit(workplace / "params.yaml", model__filters=[8, 8, 8], train__batch_size=32, train__epochs=4)
    train(normalized=DATA, backbone=BACKBONE, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    CORRECTIONS.parent.mkdir(exist_ok=True)
    write_corrections(CORRECTIONS, [])
    assert review.main(["--cards", "50"]) == 0
    cards = review.make_review(50).content["cards"]
    assert {card["members"][0]["file"] for card in cards} >= {"test/0.png", "test/2.png"}
    assert all(len(sources) == 3 for card in cards for _, sources in card["near"])
    member = next(card["members"][0] for card in cards if card["members"][0]["file"] == "test/0.png")
    write_corrections(
        CORRECTIONS,
        [Correction(member["image"], member["file"], member["was"], member["was"], "right", "me", "")],
    )
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    with Path("reports/evaluation/label_issues.csv").open(newline="") as file:
        listed = {row["file"] for row in csv.DictReader(file)}
    assert "test/2.png" in listed
    assert "test/0.png" not in listed
