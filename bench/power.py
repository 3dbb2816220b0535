"""Show by resampling that stated power is found and bounds hold.

`python -m bench.power` prints the table of docs/study.md from docs/power.csv, the rows of a study of two variants over
30 seeds. Small studies are drawn from these seeds, with replacement. The power that one states is found in other drawn
studies, whose differences are shifted to the effect that the first could have seen. A bound holds where it does not
exclude the mean difference of all seeds.
"""

import argparse
import csv
from itertools import product
from pathlib import Path

import numpy as np

from flows.results.tables import table
from flows.study.effects import show_measure
from flows.study.results import GAP
from tasks.metrics.significance import POWER, REAL, could_have_seen, excluded, paired_p_value, show_bound

MEASURED = Path("docs/power.csv")
MEASURES = (GAP, "validation_accuracy")
SIZES = (5, 10)
STUDIES = 5_000  # drawn of each size
LEVELS = {"0.05": REAL, "0.05 / 9": REAL / 9}  # of one variant beside the baseline, and of nine as in reports/study
HEADER = ("seeds", "measure", "level", "could have seen, points", "power stated", "power found", "bounds that hold")


def differences(path: Path, measure: str) -> np.ndarray:
    """Return dropout's difference from none for each seed, in points."""
    with path.open(newline="", encoding="utf-8") as file:
        scores = {(row["variant"], row["seed"]): 100 * float(row[measure]) for row in csv.DictReader(file)}
    return np.array([score - scores["none", seed] for (variant, seed), score in scores.items() if variant == "dropout"])


def resample(population: np.ndarray, n: int, level: float, studies: int = STUDIES) -> tuple[float, float, float]:
    """Draw studies of `n` seeds.

    Returns
    -------
    tuple of float
        The median of what these could have seen, the share of other studies that find it, and the share of bounds that
        hold.
    """
    drawn, others = np.random.default_rng(0).choice(population, (2, studies, n))
    seen, found, held = [], [], []
    for study, other in zip(drawn, others - population.mean(), strict=True):
        effect, bound = could_have_seen(study, level), excluded(study)
        if effect is None or bound is None:  # the same seed each time
            continue
        p = paired_p_value(other + effect)
        seen.append(effect)
        found.append(p is not None and p < level)
        held.append(abs(population.mean()) <= bound)
    return float(np.median(seen)), float(np.mean(found)), float(np.mean(held))


def rows(studies: int = STUDIES) -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    lines = []
    for n, measure, (name, level) in product(SIZES, MEASURES, LEVELS.items()):
        seen, found, held = resample(differences(MEASURED, measure), n, level, studies)
        shares = (f"{100 * share:.1f} %" for share in (found, held))
        lines.append((str(n), show_measure(measure), name, show_bound(seen), f"{100 * POWER:.0f} %", *shares))
    return lines


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.power", description=(__doc__ or "").splitlines()[0]).parse_args()
    print("\n".join(table(HEADER, rows())))
