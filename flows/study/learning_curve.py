"""A sweep over the number of training images, in sentences."""

from collections.abc import Mapping, Sequence
from math import log

from flows.study.effects import correct
from flows.study.results import Row
from tasks.metrics import significance

PARAMETER = "normalize.train_images"

Accuracies = dict[int, float]  # validation accuracy by seed, in points
Lines = Mapping[str, Mapping[float, str]]  # variant's name → number of images → variant


def sentences(rows: Sequence[Row], lines: Lines) -> list[str]:
    """Say which variant to choose, and what more images would bring.

    Parameters
    ----------
    lines : mapping
        Variants by name and number of images; fewer than two names leave nothing to choose.
    """
    sizes: dict[float, dict[str, Accuracies]] = {}
    for name, points in lines.items():
        for n, variant in points.items():
            if accuracies := {row.seed: 100 * row.validation_accuracy for row in rows if row.variant == variant}:
                sizes.setdefault(n, {})[name] = accuracies
    ranked = {n: sorted(sizes[n].items(), key=_descending_mean) for n in sorted(sizes)}
    choices = _choices({n: ranking for n, ranking in ranked.items() if len(ranking) > 1})
    return [*choices, *_outlook({n: ranking[0] for n, ranking in ranked.items()})] if choices else []


def _descending_mean(variant: tuple[str, Accuracies]) -> float:
    return -significance.mean(list(variant[1].values())).mean


def _choices(ranked: Mapping[float, Sequence[tuple[str, Accuracies]]]) -> list[str]:
    """Compare the best two of each size by corrected paired t-tests."""
    pairs = {n: _paired(best[1], second[1]) for n, (best, second, *_) in ranked.items()}
    corrected = correct({n: significance.paired_p_value(*pair) for n, pair in pairs.items()})
    choices = []
    for n, ((best, accuracies), (second, _), *_) in ranked.items():
        values = significance.show(significance.mean(list(accuracies.values())))
        gained = [a - b for a, b in zip(*pairs[n], strict=True)]  # none where no seed of both has ended
        ahead = f", {significance.show(significance.mean(gained), '+', ' points')} over {second}" if gained else ""
        is_real = corrected.get(n, 1.0) < significance.REAL
        choice = f"choose {best}" if is_real else f"{best} is not told from {second}, so choose what trains faster"
        choices.append(f"With {n:,.0f} images {choice}: validation accuracy {values} %{ahead}.")
    return choices


def _paired(first: Accuracies, second: Accuracies) -> tuple[list[float], list[float]]:
    seeds = sorted(first.keys() & second.keys())
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def _outlook(best: Mapping[float, tuple[str, Accuracies]]) -> list[str]:
    """Extrapolate the error of the best to twice the images.

    Errors fall as a power of the number of images (Hestness et al. 2017, https://arxiv.org/abs/1712.00409).
    """
    if len(best) < 2:
        return []
    fewer, most = sorted(best)[-2:]
    error, last = (100 - significance.mean(list(best[n][1].values())).mean for n in (fewer, most))
    if not 0 < last < error:
        return [f"From {fewer:,.0f} to {most:,.0f} images the best did not gain: more images are not what is lacking."]
    exponent = log(error / last) / log(most / fewer)
    doubled = last * 2**-exponent
    return [
        f"From {fewer:,.0f} to {most:,.0f} images the error of the best falls from {error:.1f} to {last:.1f} %. If it "
        f"goes on as this power of their number, {2 * most:,.0f} images would bring it to {doubled:.1f} %: "
        f"{last - doubled:.1f} points of accuracy for twice the images."
    ]
