"""Statistics over seeds against independent computations."""

import random

import numpy as np
import pytest
from scipy import stats

from tasks.metrics import significance
from tasks.metrics.significance import factor_p_value

OLD = [10.0, 11.0, 9.5, 10.5, 12.0]
NEW = [8.0, 9.5, 8.5, 8.0, 10.0]


def test_an_interval_is_students_where_the_values_differ() -> None:
    found = significance.mean(NEW)
    half = stats.t.ppf(0.975, 4) * np.std(NEW, ddof=1) / np.sqrt(5)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((8.8, 8.8 - half, 8.8 + half, 5))
    assert significance.mean([3.0]) == significance.Estimate(3.0, None, None, 1)
    assert significance.mean([2.0, 2.0, 2.0]) == significance.Estimate(2.0, 2.0, 2.0, 3)


def test_differences_are_paired() -> None:
    differences = np.subtract(NEW, OLD)
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(5))
    assert significance.paired_p_value(differences.tolist()) == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert significance.paired_p_value(differences.tolist()) == pytest.approx(stats.ttest_rel(NEW, OLD).pvalue)
    assert significance.paired_p_value([0.0] * 5) is None
    assert significance.paired_p_value([-1.0, -1.0, -1.0]) is None
    assert significance.paired_p_value([-1.0, -0.5]) is None


def test_power_is_that_of_the_textbook_where_the_deviation_is_known() -> None:
    """Cohen's d of 0.5 at 0.05, two-sided: 34 pairs are the first with 80 %, as G*Power finds."""
    powers = [significance._power(0.5 * np.sqrt(n), n, 0.05, 10**7) for n in (33, 34)]
    assert powers == pytest.approx([0.7954, 0.8078], abs=1e-3)


@pytest.mark.parametrize("level", [0.05, 0.05 / 9])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_what_a_study_could_have_seen_is_found_by_four_of_five_others(n: int, level: float) -> None:
    first, other = np.random.default_rng(n).normal(0, 2, (2, 20_000, n))
    seen = significance.could_have_seen([0.0] * (n - 1) + [n**0.5], level)  # whose deviation is 1
    effects = (seen or 0) * first.std(axis=1, ddof=1)
    assert significance.could_have_seen(first[0].tolist(), level) == pytest.approx(effects[0])
    p = stats.ttest_1samp(other + effects[:, None], 0, axis=1).pvalue
    assert np.mean(p < level) == pytest.approx(0.8, abs=0.01)


def test_so_many_seeds_as_there_are_could_have_seen_what_needs_them() -> None:
    differences = np.random.default_rng(1).normal(0, 1, 7).tolist()
    seen = significance.could_have_seen(differences, 0.01)
    assert seen is not None
    assert significance.seeds_needed(differences, seen * 1.001, 0.01) == 7
    assert significance.seeds_needed(differences, seen * 0.999, 0.01) == 8
    assert significance.seeds_needed(differences, 1e-3, 0.01) == significance.MOST_SEEDS + 1
    assert significance.seeds_needed(differences, 99.0, 0.01) == significance.MIN_PAIRS


def test_one_of_two_one_sided_tests_rejects_what_is_excluded_at_just_2_5_percent() -> None:
    differences = np.subtract(NEW, OLD)
    bound = significance.excluded(differences.tolist())
    assert bound is not None
    assert stats.ttest_1samp(differences, -bound, alternative="greater").pvalue == pytest.approx(0.025)
    assert stats.ttest_1samp(differences, bound, alternative="less").pvalue < 0.025
    assert significance.excluded((-differences).tolist()) == pytest.approx(bound)
    assert bound == pytest.approx(-(significance.mean(differences.tolist()).low or 0))  # the far end


@pytest.mark.parametrize("differences", [[], [0.4], [0.4, 0.6], [0.4, 0.4, 0.4]])
def test_too_few_differences_and_equal_ones_could_have_seen_nothing(differences: list[float]) -> None:
    assert significance.could_have_seen(differences, 0.05) is None
    assert significance.excluded(differences) is None
    assert significance.seeds_needed(differences, 0.5, 0.05) is None


def test_holms_correction_is_that_of_his_paper() -> None:
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.5, 0.9]) == [1.0, 1.0]
    assert significance.holm([0.02]) == [0.02]
    assert significance.holm([]) == []


def test_with_one_other_factor_the_test_is_the_analysis_of_variance_and_for_two_machines_the_t_test() -> None:
    draw = random.Random(0)
    groups = [[draw.gauss(0, 1) for _ in range(5)] for _ in range(3)]
    values, factor = [value for group in groups for value in group], [f"m{n}" for n in range(3) for _ in range(5)]
    assert factor_p_value(values, factor, []) == pytest.approx(float(stats.f_oneway(*groups).pvalue))
    assert factor_p_value(values[:10], factor[:10], []) == pytest.approx(float(stats.ttest_ind(*groups[:2]).pvalue))
    seeds = [str(n % 5) for n in range(10)]  # each on both machines: a paired test
    paired = stats.ttest_rel(*groups[:2]).pvalue
    assert factor_p_value(values[:10], factor[:10], [seeds]) == pytest.approx(float(paired))


def test_what_cannot_be_told_is_none() -> None:
    assert factor_p_value([1.0, 2.0], ["a", "b"], []) is None  # no degree of freedom is left
    assert factor_p_value([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"], [["x", "x", "y", "y"]]) is None  # the same
    assert factor_p_value([1.0, 1.0, 1.0, 1.0], ["a", "a", "b", "b"], []) is None  # nothing to explain
