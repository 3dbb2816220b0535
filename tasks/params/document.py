"""The whole of params.yaml: every block, the joint rules, variants and overrides."""

from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from tasks.params import PARAMS_FILE, Block, ParameterError, parse
from tasks.params.block import suggest, validate_block
from tasks.params.download import Download
from tasks.params.evaluate import Evaluate
from tasks.params.export import Export
from tasks.params.gate import DEFAULT, Gate
from tasks.params.joint import check_joint_rules
from tasks.params.model import Model
from tasks.params.normalize import Normalize
from tasks.params.regularize import Regularize
from tasks.params.study import Overrides, Study
from tasks.params.train import Train


class Params(Block):
    """The blocks of params.yaml."""

    download: Download
    normalize: Normalize
    model: Model
    regularize: Regularize
    train: Train
    evaluate: Evaluate
    export: Export
    gate: Gate = DEFAULT
    study: Study


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Load and check the whole file, its variants included, or raise ParameterError."""
    content = parse(path)
    params = validate(content, str(path))
    if not (params.normalize.validation_fraction or params.normalize.folds):  # no study runs without them
        return params
    for name in params.study.variants:
        for swept, overrides in expand(content, name, f"{path}: study").items():
            where = f"{path}: study.variants.{swept}"
            validate(override(content, overrides, where), where)
    return params


def expand(content: dict[str, Any], variant: str, where: str = "study") -> dict[str, Overrides]:
    """Expand a variant into overrides of the file, `study.base` included.

    Names joined by `+` apply together. A sweep becomes one entry for each of its values: `{"l2": …}`, or
    `{"l2_strength=0.001": …, …}`. A variant that is unknown, or sweeps over two parameters, raises ParameterError.
    """
    merged, key = _merged(content, variant, where)
    if not key:
        return {variant: merged}
    return {f"{variant}={value}": {**merged, key: value} for value in merged[key]}


def swept(content: dict[str, Any], variant: str, where: str = "study") -> str | None:
    """Name the parameter that a variant sweeps over, if any."""
    return _merged(content, variant, where)[1]


def _merged(content: dict[str, Any], variant: str, where: str) -> tuple[Overrides, str | None]:
    """Merge a variant with the base; return overrides and swept key."""
    base, variants = content["study"]["base"], content["study"]["variants"]
    override(content, base, f"{where}.base")  # rejects unknown keys
    where = f"{where}.variants"
    differences: Overrides = {}
    for name in variant.split("+"):
        if name not in variants:
            raise ParameterError(f"{where}: {name}: is no variant; {suggest(name, variants)}")
        for key, value in variants[name].items():
            if differences.setdefault(key, value) != value:
                raise ParameterError(f"{where}: {variant}: {key}: must have one value in all parts; received two")
    merged = {**base, **differences}
    override(content, merged, f"{where}.{variant}")
    lists = [key for key, value in merged.items() if isinstance(value, list)]
    sweeps = [key for key in lists if not isinstance(reduce(getitem, key.split("."), content), list)]
    if len(sweeps) > 1:
        raise ParameterError(f"{where}: {variant}: must sweep over one parameter; received {', '.join(sweeps)}")
    if sweeps and not merged[sweeps[0]]:
        raise ParameterError(f"{where}: {variant}: must sweep over at least one value of {sweeps[0]}; received none")
    return merged, sweeps[0] if sweeps else None


def validate(content: dict[str, Any], where: str) -> Params:
    """Validate blocks and the rules that join them; `where` opens the message."""
    params = validate_block(Params, content, where)
    has_validation = params.normalize.validation_fraction > 0
    check_joint_rules(params.model, params.regularize, params.train, has_validation, where)
    return params


def override(content: dict[str, Any], overrides: Overrides, where: str = "overrides") -> dict[str, Any]:
    """Copy parsed parameters with dotted keys replaced, or raise ParameterError."""
    content = deepcopy(content)
    for key, value in overrides.items():
        *blocks, name = key.split(".")
        place: Any = content
        for block in blocks:
            place = place.get(block) if isinstance(place, dict) else None
        if not isinstance(place, dict) or name not in place or blocks[:1] in ([], ["study"]):
            otherwise = "block study is set in the file alone" if blocks[:1] == ["study"] else "write it as block.key"
            instead = suggest(key, list(_dotted_keys(content)), otherwise)
            raise ParameterError(f"{where}: {key}: is no parameter; {instead}")
        place[name] = value
    return content


def _dotted_keys(content: dict[str, Any], *blocks: str) -> Iterator[str]:
    """Yield every parameter that an override may name."""
    for name, value in content.items():
        if isinstance(value, dict) and name != "study":
            yield from _dotted_keys(value, *blocks, str(name))
        elif blocks:
            yield ".".join((*blocks, str(name)))
