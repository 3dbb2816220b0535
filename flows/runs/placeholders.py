"""Stages that a run leaves for later: `dvc repro` makes their outputs.

What dvc.lock has of such a stage is of another run. Kept, it would pass that run's page off as this one's, and ask for
files that other machines never had. Without it, `dvc exp apply` fails, as DVC takes the outputs for lost. So the stage
gets an entry that no run matches, since it names no inputs, and each output is a line that says how it is made.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from flows.repo import dvc_internals

PLACEHOLDER = "`dvc repro` makes this: it was left out of the run, which asked for scores alone.\n"


def leave_out_others(checkout: Path, made: Collection[str]) -> None:
    """Record in dvc.lock that all stages but these have not run, with a placeholder for each of their outputs."""
    with dvc_internals.locked_repo(checkout) as repo:
        for stage in dvc_internals.load_stages(repo).values():
            if stage.name in made:
                continue
            for output in stage.outs:
                output.remove()
                path = Path(output.fs_path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(PLACEHOLDER, encoding="utf-8", newline="\n")
                output.save()
                output.commit()
            stage.deps = []  # parameters are among them
            dvc_internals.write_entry(stage)
