"""Intervals against theory, and against draws whose mean is known."""

import numpy as np
import pytest

from tasks.metrics.intervals import crossed_interval, gap_interval, mean_interval, resample_counts


def test_the_interval_of_a_mean_matches_theory_every_time() -> None:
    correct = (np.arange(10_000) % 5 > 0).astype(float)
    low, high = mean_interval(correct)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 10_000)
    assert (low, high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.001)
    assert mean_interval(correct) == (low, high)


def test_equal_values_and_a_single_image_have_an_interval() -> None:
    assert mean_interval(np.ones(10)) == (1.0, 1.0)
    assert gap_interval(np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0])) == pytest.approx((-0.75, 0.0))


def test_the_interval_of_a_gap_adds_both_variances() -> None:
    train, validation = (np.arange(20_000) % 10 > 0).astype(float), (np.arange(5_000) % 5 > 0).astype(float)
    error = 1.96 * np.sqrt(0.9 * 0.1 / 20_000 + 0.8 * 0.2 / 5_000)
    assert gap_interval(train, validation) == pytest.approx((0.1 - error, 0.1 + error), abs=0.002)


def test_resampling_keeps_the_images_of_each_class_and_their_mean() -> None:
    y_true = np.repeat([0, 1, 2], [300, 5, 60])
    y_pred = np.repeat([0, 1, 1, 2, 2, 3], [270, 30, 2, 3, 30, 30])
    (drawn,) = resample_counts(y_true, np.eye(4)[y_pred])
    assert drawn.support.tolist() == [300, 5, 60, 0]
    assert (drawn.predicted.sum(axis=1) == 365).all()
    assert (drawn.hits <= drawn.support).all()
    assert drawn.hits.mean(axis=0) == pytest.approx([270, 2, 30, 0], abs=1)


def test_an_interval_over_groups_covers_where_one_over_images_is_too_narrow() -> None:
    rng, n_covered = np.random.default_rng(0), {"images": 0, "groups": 0}
    for _ in range(200):
        values, groups = np.repeat((rng.random(100) < 0.7).astype(float), 3), np.repeat(np.arange(100), 3)
        for name, (low, high) in {"images": mean_interval(values), "groups": mean_interval(values, groups)}.items():
            n_covered[name] += low <= 0.7 <= high
    assert n_covered["groups"] >= 184
    assert n_covered["images"] < 160


def crossed(rng: np.random.Generator, seed: float, image: float, rest: float = 0.3) -> np.ndarray:
    """Draw differences of five seeds × 200 images, whose mean is 0."""
    seeds, images = seed * rng.standard_normal((5, 1)), image * rng.standard_normal((1, 200))
    return np.asarray(seeds + images + rest * rng.standard_normal((5, 200)))


def covers(values: np.ndarray) -> bool:
    means = values.mean(axis=1)
    low, high = crossed_interval(means, (values - means[:, None]) / values.shape[1])
    return low <= 0 <= high


@pytest.mark.parametrize(("seed", "image"), [(0.05, 0.02), (0.002, 0.5), (0.02, 0.3), (0.0, 0.0)])
def test_an_interval_over_seeds_and_images_covers_both(seed: float, image: float) -> None:
    rng = np.random.default_rng(0)
    assert np.mean([covers(crossed(rng, seed, image)) for _ in range(500)]) >= 0.93


def test_an_interval_over_images_misses_what_another_seed_trains() -> None:
    rng, n_covered = np.random.default_rng(0), 0
    for _ in range(100):
        low, high = mean_interval(crossed(rng, 0.05, 0.02).mean(axis=0))
        n_covered += low <= 0 <= high
    assert n_covered < 70


def test_seeds_alone_and_seeds_that_agree_have_an_interval() -> None:
    changes, no_images = np.array([0.01, 0.02, 0.03]), np.zeros((3, 1))
    assert crossed_interval(changes, no_images) == pytest.approx((0.02 - 0.02484, 0.02 + 0.02484), abs=1e-5)
    assert crossed_interval(np.zeros(3), np.zeros((3, 9))) == (0, 0)
    alike = np.tile([[0.1, -0.1]], (3, 1))  # of one mean in each seed: images alone vary
    assert crossed_interval(np.full(3, 0.5), alike) == pytest.approx(
        (0.5 - 1.96 * 0.1414, 0.5 + 1.96 * 0.1414), abs=1e-4
    )


def test_other_images_for_each_seed_add_nothing_to_what_seeds_vary() -> None:
    changes = np.array([0.01, 0.02, 0.03])
    apart = np.kron(np.eye(3), [[0.01, -0.01]])
    assert crossed_interval(changes, apart) == crossed_interval(changes, np.zeros((3, 1)))
