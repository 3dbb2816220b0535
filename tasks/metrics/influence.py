"""How much each test image moves a score: its influence.

The influence is the derivative of the score by the image's weight. The sum of the squares over images is the variance
of the score over images: the infinitesimal jackknife (L. A. Jaeckel 1972, Bell Laboratories, memorandum MM 72-1215-11).
It is what a bootstrap finds, without its resamples; for a mean the two are equal. No resample can lack a class.
"""

import numpy as np

from tasks.metrics.class_counts import count_classes
from tasks.metrics.per_sample import correct
from tasks.metrics.predictions import Labels, Probabilities, Values
from tasks.metrics.scores import SCORES

WITH_INFLUENCE = {
    *(name for name, score in SCORES.items() if score.per_sample),
    "balanced_accuracy",
    "f1_macro",
}


def score_influence(name: str, y_true: Labels, y_prob: Probabilities) -> Values:
    """Compute the influence of each image on a score of WITH_INFLUENCE."""
    if per_sample := SCORES[name].per_sample:
        return mean_influence(per_sample(y_true, y_prob))
    counts, predicted, hit = count_classes(y_true, y_prob), y_prob.argmax(axis=1), correct(y_true, y_prob)
    n_present = np.count_nonzero(counts.support)
    if name == "balanced_accuracy":
        recall = counts.hits / np.maximum(counts.support, 1)
        return (hit - recall[y_true]) / counts.support[y_true] / n_present
    size = np.maximum(counts.predicted + counts.support, 1)
    f1 = 2 * counts.hits / size  # 0 of a class without images
    influence: Values = (2 * hit / size[y_true] - (f1 / size)[y_true] - (f1 / size)[predicted]) / n_present
    return influence


def mean_influence(values: Values) -> Values:
    """Compute the influence of each image on a mean over images."""
    influence: Values = (values - values.mean()) / len(values)
    return influence
