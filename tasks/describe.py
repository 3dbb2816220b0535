"""Stage describe: reports → the card that goes with the model.

`python -m tasks.describe --images data/cifar10.sha256 --counts reports/dataset.json --metrics reports/metrics.json
--parity reports/export.json --details reports/evaluation --card reports/card.md`

`--images` is the slot of dvc.yaml, by whose name the licence of the images is known. Nothing else is read of them.
RefusedError: a damaged report.
"""

import json
from pathlib import Path

from tasks import errors
from tasks.exporting.card import CIFAR10, LITE0, OWN_IMAGES, OWN_WEIGHTS, Report, Reports, write_card
from tasks.params import load_block
from tasks.params.model import Model
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

WEIGHTS = {"efficientnet_lite0": [LITE0], "pretrained": [OWN_WEIGHTS]}  # by network


def describe(
    *, images: Path, counts_path: Path, metrics_path: Path, parity_path: Path, details: Path, card_path: Path
) -> command_line.RunInfo:
    """Write the card of a model from its reports."""
    paths = (counts_path, metrics_path, parity_path, details / "scores.json", details / "calibration.json")
    reports = Reports(*map(_read, paths))
    sources = [CIFAR10 if images.suffix == ".sha256" else OWN_IMAGES]
    sources += WEIGHTS.get(load_block("model", Model).network, [])
    try:
        text = write_card(reports, sources)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        rule = f"{', '.join(map(str, paths))} must be whole"
        raise errors.RefusedError(f"{rule}: {error!r}; `make doctor` restores them, or `dvc repro` does") from error
    with atomic_outputs(card_path) as (file,):
        file.write_text(text, encoding="utf-8", newline="\n")
    return {}


def _read(path: Path) -> Report:
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.RefusedError(f"{path} must be JSON: {error}; `make doctor` restores it") from error
    return report


if __name__ == "__main__":
    command_line.run(describe)
