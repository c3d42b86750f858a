"""The page of a search: its best trial, all trials, and Optuna's plots of them."""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING

from pocketcxr.report.page import render
from pocketcxr.report.types import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study

_PLOTS = {
    "plot_optimization_history": ("History", "Value of each trial, and the best so far."),
    "plot_intermediate_values": ("Epochs", "What each trial had after each epoch; lines that end early were pruned."),
    "plot_param_importances": ("Importance of the fields", "Share of the differences between trials (PED-ANOVA)."),
    "plot_parallel_coordinate": ("Values of all trials", "A line per trial, coloured by its value."),
}

_LOGGER = logging.getLogger("pocketcxr")


def search_page(
    study: Study,
    headline: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | float | int | None]],
    *,
    settings: Sequence[str],
    figure: str,
) -> str:
    """HTML of a search.

    Args:
        study: with one trial at least that came to its end.
        headline: which trial is best, with its value.
        columns: of the table of trials.
        rows: best first.
        settings: lines of the experiment file of the best trial.
        figure: name of what was searched by.
    """
    table = Table("Trials", tuple(columns), tuple(tuple(map(_cell, row)) for row in rows))
    pictures = [_plot(study, name, figure) for name in _PLOTS]
    return render(
        "report/templates/search.html.j2",
        title="pocketcxr: search of settings",
        headline=headline,
        table=table,
        pictures=[one for one in pictures if one is not None],
        settings="\n".join(settings),
    )


def _cell(value: str | float | None) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None if value is None else str(value)


def _plot(study: Study, name: str, figure: str) -> Picture | None:
    """One of Optuna's plots as PNG; None, with a line, where the trials are too few for it."""
    import matplotlib as mpl
    import optuna.visualization.matplotlib as plots
    from matplotlib import pyplot as plt

    title, note = _PLOTS[name]
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these plots may change
        plt.switch_backend("agg")
        options = {} if name == "plot_intermediate_values" else {"target_name": figure}
        try:
            axes = getattr(plots, name)(study, **options)
        except (ValueError, RuntimeError) as error:
            _LOGGER.info("no plot of %s: %s", title.lower(), error)
            return None
        drawn = axes.figure
        drawn.set_size_inches(10, 4.5)  # room for names of choices beside the colours
        if name == "plot_intermediate_values" and axes.get_legend():
            axes.get_legend().remove()  # an entry for each trial
        stream = io.BytesIO()
        drawn.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        plt.close(drawn)
    return Picture(title, stream.getvalue(), alt=note, note=note)
