"""The page shows all numbers, pictures and findings, edge cases included."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_sample_image

from tasks.exporting.usage import exported_lines
from tasks.metrics.scores import SCORES
from tasks.reporting.evaluation import Evaluation, Findings, Leak
from tasks.reporting.results import compute_results
from tests.support import ROOT
from tests.support.reports import PARAMETERS, Page, evaluation, history, render_page, with_test


def test_the_numbers_of_the_results_are_shown() -> None:
    made = evaluation(n=500)
    results, page = compute_results(made), Page(render_page(made))
    header, *rows = page.tables[0]
    assert header == ["score", "train", "validation", "test", "better"]
    assert rows == [
        [score.title, *(f"{values[name]:.4f}" for values in results.scores.values()), score.better]
        for name, score in SCORES.items()
    ]
    (classes,) = (table for table in page.tables if table[0][0] == "class")
    assert classes[1:] == [
        [row.name, f"{row.f1:.3f}", f"{row.precision:.3f}", f"{row.recall:.3f}", str(row.support)]
        for row in reversed(results.ranked)
    ]
    assert results.gap
    assert f"{100 * results.gap.value:.1f} points" in page.words


def test_mistakes_are_counted_from_the_predictions() -> None:
    made = evaluation(n=500)
    page = Page(render_page(made))
    y_true, y_prob = made.predictions["test"]
    counts = metrics.confusion_matrix(y_true, y_prob.argmax(axis=1))
    listed = re.findall(r"(class \d) predicted as (class \d): (\d+) of (\d+) images", page.words)
    for true, predicted_name, count, support in listed:
        row = counts[made.class_names.index(true)]
        assert (int(count), int(support)) == (row[made.class_names.index(predicted_name)], row.sum())
    off_diagonal = counts[~np.eye(4, dtype=bool)]
    assert [int(count) for _, _, count, _ in listed] == sorted(off_diagonal, reverse=True)[:10]


def test_the_gallery_shows_the_most_confident_mistakes_first() -> None:
    made = evaluation()
    y_true, y_prob = made.calibrated["test"]
    wrong = np.flatnonzero(y_prob.argmax(axis=1) != y_true)
    expected = wrong[np.argsort(-y_prob[wrong].max(axis=1))][:24]
    pictures = Page(render_page(made)).pictures[: len(expected)]  # further galleries follow
    shown = [int(re.findall(r"test/(\d+).png", picture["alt"] or "")[0]) for picture in pictures]
    assert shown[: len(expected)] == expected.tolist()
    assert all((picture["src"] or "").startswith("data:image/png;base64,") for picture in pictures)


def test_parameters_are_listed_as_params_yaml_spells_them_beside_the_models_size() -> None:
    page = Page(render_page(evaluation(parameters={**PARAMETERS, "mine": {"inner": {"flip": "random"}, "on": True}})))
    assert "1,250,858 parameters and takes 5.0 MB" in page.words
    (parameters,) = (table for table in page.tables if table[0][0] == "parameter")
    rows = {"normalize.size": "null", "model.filters": "[32, 64, 64]", "mine.inner.flip": "random", "mine.on": "true"}
    assert rows.items() <= dict(parameters).items()


def test_the_docs_have_the_lines_of_the_committed_settings() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/export.md")]
    readme, export = (re.findall(r"```python\n(.+?)```", page, re.DOTALL) for page in pages)
    (shown,) = re.findall("<pre><code>(.+?)</code></pre>", render_page(evaluation()), re.DOTALL)
    assert readme == [exported_lines("classifier.onnx", "crop")]
    assert export == [exported_lines("classifier.tflite", "crop"), unescape(shown)]


def test_the_same_evaluation_is_the_same_page_and_loads_nothing() -> None:
    first = render_page(evaluation())
    assert first == render_page(evaluation(), own_figures=True)
    assert not re.search(r"<(script|link|iframe)|@import|(src|href)=\"(?!data:|#)", first.replace("xlink:href", ""))
    assert "default-src 'none'" in first


def test_names_and_values_are_text_and_never_markup() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    parameters = {**PARAMETERS, "mine": {hostile: "</table><b>", "schedule": "&"}}
    files = {split: [hostile] * 400 for split in ("train", "validation", "test")}
    made = render_page(evaluation(files=files, class_names=[hostile, "$x$", "c & d", "'e'"], parameters=parameters))
    assert hostile not in made
    assert "</table><b>" not in made
    assert hostile in Page(made).words


EDGES: dict[str, tuple[Evaluation, str]] = {
    "a class never predicted": (with_test(evaluation(), [0, 1, 2, 3], np.eye(4)[[0, 1, 2, 0]]), "class 0"),
    "one epoch only": (evaluation(history=history(1)), "After 1 epoch the gap"),
    "no validation split": (evaluation(validation=False, history=history(validation=False)), "is no validation split"),
    "a perfect model": (with_test(evaluation(), [0, 1, 2, 3], np.eye(4)), "No test image is classified wrong"),
    "a model that predicts one class": (
        with_test(evaluation(), np.arange(40) % 4, np.tile([0.7, 0.1, 0.1, 0.1], (40, 1))),
        "predicted as class 0: 10 of 10",
    ),
    "two classes": (evaluation(n_classes=2), "class 1 predicted as class 0"),
    "a hundred classes": (evaluation(n_classes=100), "class 99"),
    "a class without test images": (with_test(evaluation(), [0, 1, 2, 2], np.eye(4)[[0, 1, 2, 0]]), "class 3"),
    "early stopping": (
        evaluation(history=history(5, best=2), has_early_stopping=True),
        "epoch 2, whose weights early stopping kept",
    ),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_the_page_holds_on_the_edge_of(edge: str) -> None:
    made, words = EDGES[edge]
    page = Page(render_page(made, own_figures=True))
    assert words in page.words
    assert "nan" not in page.words.lower()


def test_many_classes_are_shown_by_the_weakest_and_counted_in_full() -> None:
    made = evaluation(n=400, n_classes=40)
    results = compute_results(made)
    page = Page(render_page(made))
    assert "Of 40 classes, the 30 with the most mistakes" in page.words
    assert "Of 40 classes, 10 are shown" in page.words
    (classes,) = (table for table in page.tables if table[0][0] == "class")
    assert len(classes) == 41
    shown = {re.findall(r"class \d+", picture["alt"] or "")[0] for picture in page.pictures[24 : 24 + 10 * 10]}
    assert shown == {row.name for row in sorted(results.classes, key=lambda row: row.f1)[:10]}


@pytest.mark.slow
def test_a_page_of_a_thousand_classes_of_photographs_stays_small() -> None:
    made = evaluation(n=10_000, n_classes=1000, skill=4.0)
    photograph = load_sample_image("china.jpg")[:224, :224]
    images = {split: np.broadcast_to(photograph, (len(files), 224, 224, 3)) for split, files in made.files.items()}
    leaks = [Leak("test", row, row, "equal pixels") for row in range(100)]
    made = replace(made, images=images, findings=Findings(leaks, [], []))
    html = render_page(made, own_figures=True)
    assert len(Page(html).pictures) == 24 + 24 + 2 * 12 + 10 * 10
    assert len(html.encode()) < 5_000_000


def test_leaks_are_counted_measured_and_shown_in_pairs() -> None:
    leaks = [Leak("test", row, 2 * row, "equal pixels") for row in range(50)] + [Leak("validation", 7, 9, "alike")]
    made = evaluation(findings=Findings(leaks, [], []))
    page = Page(render_page(made))
    assert "50 of 200 test images have a duplicate in training" in page.words
    assert "1 validation image has one, too." in page.words
    (table,) = (table for table in page.tables if table[0][0] == "test accuracy")
    y_true, y_prob = made.predictions["test"]
    right = y_prob.argmax(axis=1) == y_true
    assert [row[1] for row in table[1:]] == [
        f"{100 * right.mean():.2f} %",
        f"{100 * right[50:].mean():.2f} %",
        f"{100 * (right.mean() - right[50:].mean()):+.2f} points",
    ]
    pairs = page.words.split("inflation by leaks")[-1]
    assert "test: test/11.png" in pairs  # the first 12 pairs
    assert "train: train/22.png" in pairs
    assert "test: test/12.png" not in pairs


def test_the_closest_pairs_are_shown_beside_their_similarity() -> None:
    findings = Findings([], [], [], close=[Leak("test", 3, 8, "0.987")])
    page = Page(render_page(evaluation(findings=findings)))
    assert "give both files one group, or set normalize.copies to strict." in page.words
    parameters = {**PARAMETERS, "normalize": {**PARAMETERS["normalize"], "copies": "strict"}}
    strict = Page(render_page(evaluation(findings=findings, parameters=parameters)))
    assert "give both files one group." in strict.words
    assert re.search(r"0\.987\s*test: test/3\.png, class 3\s*train: train/8\.png, class 0", page.words)


def test_conflicts_and_unreadable_files_are_shown_and_counted() -> None:
    conflicts = [(f"test/{n}.png", f"train/{n}.png", "cat, dog") for n in range(24)]
    unreadable = [(f"c/{n}.png", "truncated") for n in range(12)]
    cropped = [("d/wide.png", "60 % is cut off")]
    findings = Findings([], [("gone/1.png", "gone/2.png", "cat, dog"), *conflicts], unreadable, cropped=cropped)
    page = Page(render_page(evaluation(findings=findings)))
    assert "One picture, two labels: 25" in page.words
    shown = page.words.split("One picture, two labels")[1]
    assert re.search(r"in no split\s*cat, dog\s*gone/1\.png\s*gone/2\.png", shown)
    assert re.search(r"cat, dog\s*test/10\.png\s*train/10\.png", shown)
    assert "test/11.png" not in shown
    assert len(page.pictures) == len(Page(render_page(evaluation())).pictures) + 2 * 11
    assert "and 13 more, in data/normalized/findings.csv" in page.words
    assert "were left out: 12" in page.words
    assert "c/9.png: truncated" in page.words
    assert "and 2 more" in page.words
    assert "by normalize.fit: crop: 1" in page.words
    assert "d/wide.png: 60 % is cut off" in page.words
    without = Page(render_page(evaluation())).words
    assert not [word for word in ("duplicate", "Leaks", "Problems with the files") if word in without]


def test_doubtful_labels_are_shown_with_their_files() -> None:
    made = evaluation(skill=6.0)
    y_true, y_prob = made.predictions["test"]
    labels = y_true.copy()
    labels[17] = (labels[17] + 1) % 4
    page = Page(render_page(with_test(made, labels, y_prob)))
    assert "Labels worth a second look" in page.words
    assert "test: test/17.png" in page.words
    assert "trained on the labels of train" in page.words
    perfect = evaluation(skill=50.0)
    assert "second look" not in Page(render_page(perfect)).words


def test_long_names_are_shortened_and_kept_in_full_beside() -> None:
    name = "a-folder/" + "x" * 80 + "/0001.jpg"
    made = evaluation(n=40)
    made = replace(
        made, files={**made.files, "test": [name] * 40}, about=made.about._replace(classes=["c" * 100, "b", "d", "e"])
    )
    html = render_page(made)
    assert f'<span title="{name}">a-folder/xxx…xxx/0001.jpg'[:40] in html
    assert f'<span class="file">{name}' not in html
    assert f"</summary><code>{name}</code></details>" in html  # where a picture is opened
