"""Settings written into params.yaml, whose layout and comments stay."""

from functools import reduce
from io import StringIO
from operator import getitem
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from tasks.params import ParameterError
from tasks.params.document import expand, override, swept
from tasks.params.study import Overrides

ALL_IMAGES = "normalize.train_images"  # what a study varies or limits; a person who uses a variant has all


def write_settings(text: str, settings: dict[str, Any]) -> str:
    """Return the text of a parameter file with dotted keys set.

    Lists are written on one line, except where the file has one line an item: ruamel.yaml would damage what follows.
    """
    yaml, written = YAML(), StringIO()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    null = "tag:yaml.org,2002:null"
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(null, "null"))
    before = yaml.load(text)
    after = override(before, settings)
    for *blocks, name in (key.split(".") for key, value in settings.items() if isinstance(value, list)):
        old, place = (reduce(getitem, blocks, content) for content in (before, after))
        place[name] = CommentedSeq(place[name])
        if not isinstance(old[name], list) or old[name].fa.flow_style():
            place[name].fa.set_flow_style()
    yaml.dump(after, written)
    return written.getvalue()


def variant_settings(content: dict[str, Any], variant: str) -> Overrides:
    """Return a variant's settings, those of `study.base` included, on all images.

    One that sweeps over another parameter must be named with a value: `l2_strength=0.001`.
    """
    name = variant.partition("=")[0]
    runs = expand(content, name)
    if variant not in runs and swept(content, name) != ALL_IMAGES:
        raise ParameterError(f"variant must be {' or '.join(runs)}; received {variant}")
    return {**runs.get(variant, next(iter(runs.values()))), ALL_IMAGES: None}
