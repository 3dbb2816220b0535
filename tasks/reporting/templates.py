"""HTML pages from templates, with data and parameters escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks.reporting import drawing


def render_template(template: str, **content: Any) -> str:
    """Fill a template of this folder; a missing value is an error."""
    environment = Environment(
        # control: escaping
        loader=PackageLoader("tasks.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "inline": inline, "elide": drawing.elide}
    return environment.get_template(template).render(**content)


def percent(share: float) -> str:
    """Write a share as a percentage with one digit."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def inline(svg: str) -> Markup:
    """Embed a figure in the page, in the page's own colours."""
    drawn = svg[svg.index("<svg") :].replace(drawing.INK, "currentColor").replace(drawing.PAPER, "none")
    return Markup(drawn)  # noqa: S704 drawn by this folder's figures, which escape their texts
