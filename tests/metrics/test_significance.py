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
    assert significance.paired_p_value(NEW, OLD) == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert significance.paired_p_value(OLD, OLD) is None
    assert significance.paired_p_value([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]) is None
    assert significance.paired_p_value([1.0, 2.5], [2.0, 3.0]) is None


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
