"""The whole of params.yaml: every block, the joint rules, variants and overrides.

Steps read their own blocks and never this module, so that a change to one block's class
reruns only the stages that read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from tasks.params import PARAMS_FILE, Block, ParameterError, check, known_instead, parse
from tasks.params.download import Download
from tasks.params.evaluate import Evaluate
from tasks.params.joint import check_joint_rules
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
    if not params.normalize.validation_fraction:  # without which no study runs
        return params
    for name in params.study.variants:
        for swept, overrides in expand(content, name, f"{path}: study").items():
            where = f"{path}: study.variants.{swept}"
            validate(override(content, overrides, where), where)
    return params


def expand(content: dict[str, Any], variant: str, where: str = "study") -> dict[str, Overrides]:
    """Write a variant as overrides of the file, `study.base` included.

    A sweep becomes one entry for each of its values.

    Parameters
    ----------
    content : dict
        The parsed file.
    variant : str
        Its name, or several joined by `+`, whose differences are then all made.

    Returns
    -------
    dict
        Overrides by name: `{"l2": …}`, or for a sweep `{"l2_strength=0.001": …, …}`.

    Raises
    ------
    ParameterError
        If there is no such variant, or it sweeps over more than one parameter.
    """
    merged, key = _merged(content, variant, where)
    if not key:
        return {variant: merged}
    return {f"{variant}={value}": {**merged, key: value} for value in merged[key]}


def swept(content: dict[str, Any], variant: str, where: str = "study") -> str | None:
    """Name the parameter that a variant sweeps over; None where it sweeps over none."""
    return _merged(content, variant, where)[1]


def _merged(content: dict[str, Any], variant: str, where: str) -> tuple[Overrides, str | None]:
    """The overrides of a variant and its base, in which a sweep is a list, and the key of the sweep."""
    base, variants = content["study"]["base"], content["study"]["variants"]
    override(content, base, f"{where}.base")  # refuses a key that is no parameter
    where = f"{where}.variants"
    made: Overrides = {}
    for name in variant.split("+"):
        if name not in variants:
            raise ParameterError(f"{where}: {name}: is no variant; {known_instead(name, variants)}")
        for key, value in variants[name].items():
            if made.setdefault(key, value) != value:
                raise ParameterError(f"{where}: {variant}: {key}: must be set alike by its parts; received two values")
    merged = {**base, **made}
    override(content, merged, f"{where}.{variant}")
    sweeps = [key for key, value in merged.items() if isinstance(value, list) and not _is_list(content, key)]
    if len(sweeps) > 1:
        raise ParameterError(f"{where}: {variant}: must sweep over one parameter; received {', '.join(sweeps)}")
    if sweeps and not merged[sweeps[0]]:
        raise ParameterError(f"{where}: {variant}: must sweep over at least one value of {sweeps[0]}; received none")
    return merged, sweeps[0] if sweeps else None


def _is_list(content: dict[str, Any], key: str) -> bool:
    """Say whether a parameter of the file holds a list."""
    value: Any = content
    for part in key.split("."):
        value = value[part]
    return isinstance(value, list)


def validate(content: dict[str, Any], where: str) -> Params:
    """Check parsed parameters, and the rules that join two blocks.

    Raises
    ------
    ParameterError
        On the first rule that they break; `where` opens the message.
    """
    params = check(Params, content, where)
    has_validation = params.normalize.validation_fraction > 0
    check_joint_rules(params.model, params.regularize, params.train, has_validation, where)
    return params


def override(content: dict[str, Any], overrides: Overrides, where: str = "overrides") -> dict[str, Any]:
    """Copy parsed parameters with dotted keys replaced.

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
        if not isinstance(place, dict) or name not in place or blocks[:1] in ([], ["study"]):
            otherwise = "a study's own is set in the file" if blocks[:1] == ["study"] else "write it as block.key"
            instead = known_instead(key, list(_dotted_keys(content)), otherwise)
            raise ParameterError(f"{where}: {key}: is no parameter; {instead}")
        place[name] = value
    return content


def _dotted_keys(content: dict[str, Any], *blocks: str) -> Iterator[str]:
    """List every parameter that an override may name; a study's own are not for its runs."""
    for name, value in content.items():
        if isinstance(value, dict) and name != "study":
            yield from _dotted_keys(value, *blocks, str(name))
        elif blocks:
            yield ".".join((*blocks, str(name)))
