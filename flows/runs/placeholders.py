"""Stages that a run leaves for later: `dvc repro` makes their outputs.

The entry of such a stage in dvc.lock belongs to another run: it would attribute that run's report to this one, and ask
for files that other machines never had. Without an entry, `dvc exp apply` fails, as DVC takes the outputs for lost. So
the stage gets an entry without inputs, which no run matches, and each output is a line that says how it is made.
"""

from collections.abc import Collection
from pathlib import Path

from flows.repo.dvc_internals import locked_repo

PLACEHOLDER = "`dvc repro` makes this: the run ended with its scores.\n"


def leave_out_others(checkout: Path, stages: Collection[str]) -> None:
    """Record all other stages as not run, with placeholders as outputs."""
    with locked_repo(checkout) as repo:
        for stage in repo.stage.collect(str(checkout / "dvc.yaml")):
            if stage.name in stages:
                continue
            for output in stage.outs:
                output.remove()
                path = Path(output.fs_path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(PLACEHOLDER, encoding="utf-8", newline="\n")
                output.save()
                output.commit()
            stage.deps = []  # parameters are among them
            stage.dump(update_pipeline=False)
