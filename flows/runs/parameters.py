"""Settings written into params.yaml, whose layout and comments stay."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from tasks.params import ParameterError
from tasks.params.document import expand, override, swept
from tasks.params.study import Overrides

ALL_IMAGES = "normalize.train_images"  # what a study varies or limits; a person who uses a variant has all


def write_settings(text: str, settings: dict[str, Any]) -> str:
    """Return the text of a parameter file with dotted keys set."""
    yaml, written = YAML(), StringIO()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    null = "tag:yaml.org,2002:null"
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(null, "null"))
    yaml.dump(override(yaml.load(text), {key: _on_one_line(value) for key, value in settings.items()}), written)
    return written.getvalue()


def _on_one_line(value: Any) -> Any:
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    return value


def variant_settings(content: dict[str, Any], variant: str) -> Overrides:
    """Return a variant's settings, those of `study.base` included, on all images.

    One that sweeps over another parameter must be named with a value: `l2_strength=0.001`.
    """
    name = variant.partition("=")[0]
    runs = expand(content, name)
    if variant not in runs and swept(content, name) != ALL_IMAGES:
        raise ParameterError(f"variant must be {' or '.join(runs)}; received {variant}")
    return {**runs.get(variant, next(iter(runs.values()))), ALL_IMAGES: None}
