"""The whole of params.yaml: every block, the rules that join two of them, and overrides.

Steps read their own blocks and never this module, so that a change to one block's class
reruns only the stages that read it.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from tasks.params import PARAMS_FILE, Block, ParameterError, check, parse
from tasks.params.download import Download
from tasks.params.evaluate import Evaluate
from tasks.params.model import Model
from tasks.params.normalize import Normalize
from tasks.params.regularize import Regularize
from tasks.params.study import Overrides, Study
from tasks.params.train import Train


class Params(Block):
    """params.yaml, block by block."""

    download: Download
    normalize: Normalize
    model: Model
    regularize: Regularize
    train: Train
    evaluate: Evaluate
    study: Study


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check the whole file, its variants included.

    Raises
    ------
    ParameterError
        On the first rule that the file breaks.
    """
    content = parse(path)
    params = validate(content, str(path))
    for name, differences in params.study.variants.items():
        where = f"{path}: study.variants.{name}"
        validate(override(content, {**params.study.base, **differences}, where), where)
    return params


def validate(content: dict[str, Any], where: str) -> Params:
    """Check parsed parameters, and the rules that join two blocks."""
    params = check(Params, content, where)
    rules = [
        (
            params.regularize.early_stopping.patience > 0 and params.normalize.validation_fraction == 0,
            "regularize.early_stopping.patience",
            "must be 0 when normalize.validation_fraction is 0: early stopping watches validation",
            params.regularize.early_stopping.patience,
        ),
        (
            params.regularize.weight_decay > 0 and params.train.optimizer == "adam",
            "regularize.weight_decay",
            "must be 0 with train.optimizer adam: adamw is Adam with decoupled weight decay",
            params.regularize.weight_decay,
        ),
    ]
    for broken, key, rule, received in rules:
        if broken:
            raise ParameterError(f"{where}: {key}: {rule}; received {received}")
    return params


def override(content: dict[str, Any], overrides: Overrides, where: str = "overrides") -> dict[str, Any]:
    """A copy of parsed parameters with dotted keys replaced.

    Raises
    ------
    ParameterError
        If a key names no parameter of the file.
    """
    content = deepcopy(content)
    for key, value in overrides.items():
        *blocks, name = key.split(".")
        place: Any = content
        for block in blocks:
            place = place.get(block) if isinstance(place, dict) else None
        if not isinstance(place, dict) or name not in place or not blocks:
            raise ParameterError(f"{where}: {key}: is no parameter of the file; write it as block.key")
        place[name] = value
    return content
