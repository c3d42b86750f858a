"""Query parameters: one that an address does not have is refused, not ignored."""

from __future__ import annotations

from difflib import get_close_matches

from fastapi import Request  # noqa: TC002  # FastAPI reads the annotation

from pocketcxr.plain_text import one_line
from pocketcxr.serving.api.problems import ProblemError

_SHOWN = 60  # characters of a name that somebody sent


async def parameters_known(request: Request) -> None:
    """Refuse a query that names a parameter which the address does not have, such as a misspelt one.

    Raises:
        ProblemError: with the nearest name that there is.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"expected {', '.join(known) or 'none'}"
            raise ProblemError("invalid-parameter", f"query: no parameter {one_line(name)[:_SHOWN]}; {hint}")
