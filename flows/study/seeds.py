"""How many seeds would tell an effect, and how long they take."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from flows.host.capability import describe_host
from flows.host.resources import default_jobs
from flows.results.tables import table
from flows.study.effects import measures, paired_differences, show_measure
from flows.study.kept import read_study
from flows.study.results import Row
from tasks.metrics import significance
from tasks.params import ParameterError


def plan_seeds(folder: Path, effect: float, variants: Sequence[str] | None, jobs: int | None) -> str:
    """Tabulate how many seeds tell an effect in points.

    The first of `variants` is the baseline, as in a study, and their number determines the level.
    """
    if not 0 < effect < 100:
        raise ParameterError(f"--plan must be above 0 and below 100 points; received {effect:g}")
    if jobs is not None and jobs < 1:
        raise ParameterError(f"jobs must be at least 1; received {jobs}")
    rows, first, _ = read_study(folder)
    baseline, *others = _choose(list(dict.fromkeys([first, *(row.variant for row in rows)])), variants)
    fields, level, jobs = measures(rows), significance.REAL / max(len(others), 1), jobs or default_jobs()
    seconds, lines = _seconds_here(rows), []
    for variant in others:
        differences = [paired_differences(rows, variant, baseline, field) for field in fields.values()]
        needed = [significance.seeds_needed(points, effect, level) for points in differences]
        n = len(differences[0])
        most = max(seeds or 0 for seeds in needed)
        more = max(most - n, 0) if most <= significance.MOST_SEEDS else most
        known = 0 < most <= significance.MOST_SEEDS and {baseline, variant} <= seconds.keys()
        time = f"{more * (seconds[baseline] + seconds[variant]) / jobs / 60:,.0f} min" if known else ""
        lines.append((variant, str(n), *map(_show_seeds, (*needed, more if most else None)), time))
    if not any(int(n) >= significance.MIN_PAIRS for _, n, *_ in lines):
        rule = f"a variant with at least {significance.MIN_PAIRS} seeds in common with its baseline"
        raise ParameterError(f"--plan needs {rule}; received none; run the study with more seeds or variants")
    measured = (
        f"Time is of the trainings alone, those of {baseline} included, {jobs} side by side, at the median here."
        if seconds
        else "How long these take here is unknown: no training of this study on such hardware is recorded. The study's "
        "own command records it, without repeating a run that this clone has."
    )
    header = ("variant", "seeds so far", *map(show_measure, fields), "more", "time here")
    what = f"Seeds that tell {effect:g} points from 0 with 80 % power at level 0.05 / {len(others)}:"
    return "\n".join([what, "", *table(header, lines), "", measured])


def _choose(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the variants that are wanted; a sweep's name means all."""
    chosen: dict[str, None] = {}
    for name in wanted or known:
        found = [variant for variant in known if name in (variant, variant.rpartition("=")[0])]
        if not found:
            raise ParameterError(f"--variants must be of this study: {', '.join(known)}; received {name}")
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _seconds_here(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median time of each variant's trainings on hardware as here."""
    hardware = describe_host().partition("; ")[2]  # after the host's name
    here = [row for row in rows if row.seconds is not None and row.machine.partition("; ")[2] == hardware]
    names = dict.fromkeys(row.variant for row in here)
    return {name: median(row.seconds or 0.0 for row in here if row.variant == name) for name in names}


def _show_seeds(n: int | None) -> str:
    if n is None:
        return ""
    return f"{n:,}" if n <= significance.MOST_SEEDS else f"more than {significance.MOST_SEEDS:,}"
