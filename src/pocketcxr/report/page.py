"""The one template environment: HTML pages that share a base, and Markdown documents."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

import jinja2

from pocketcxr.plain_text import lines
from pocketcxr.report import formatting
from pocketcxr.report.palette import COLOURS, SERIES

if TYPE_CHECKING:
    from pocketcxr.report.types import Measure, Picture


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of the whole package, named by their path in it; HTML is escaped, a missing name is an error."""
    jinja = jinja2.Environment(
        loader=jinja2.PackageLoader("pocketcxr", "."),
        autoescape=jinja2.select_autoescape(("html.j2",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    jinja.filters |= {
        "number": formatting.number,
        "percent": formatting.percent,
        "p": formatting.p_value,
        "count": formatting.count,
        "unit": formatting.in_unit,
        "interval": _measure,
        "cell": formatting.table_cell,
        "uri": _uri,
    }
    jinja.globals |= {"colours": COLOURS, "series": SERIES}
    return jinja


def _shown(value: Any) -> Any:
    """Text of others without signs that turn what stands behind them; markup is ours."""
    return lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def render(template: str, **values: Any) -> str:
    """Fill in a template, such as ``report/templates/audit.html.j2``.

    Args:
        template: its path inside the package; names that end in ``.html.j2`` are escaped as HTML.
        values: what it needs; one that is missing raises `jinja2.UndefinedError`.
    """
    return environment().get_template(template).render(**values)


def _measure(measure: Measure) -> str:
    return formatting.with_interval(measure, unit=measure.unit)


def _uri(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"
