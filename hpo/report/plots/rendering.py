"""Rendering: a plot of a study as the bytes of a file, or as SVG for a page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hpo.report.plots.chart import Chart
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES: Final = ("png", "svg", "pdf")
FORMATS: Final = (*PICTURES, "html")
_DOTS_PER_INCH: Final = 150


def optuna_plot(
    db: Database,
    subject: Subject,
    kind: str,
    form: str,
    *,
    metrics: Sequence[str] = (),
    params: Sequence[str] = (),
) -> bytes:
    """Draws one of Optuna's plots.

    Args:
        db: The database.
        subject: The study.
        kind: importance, parallel, slice, contour, rank or pareto.
        form: One of `FORMATS`.
        metrics: Names of the objectives; by default those that the plot can show.
        params: Names of the parameters; by default the most important ones.

    Raises:
        SpecError: The study has no such objective or parameter.
        HpoError: It has nothing that this plot can show.
    """
    from hpo.report.plots import optuna_plots

    library: optuna_plots.Library = "plotly" if form == "html" else "matplotlib"
    shown = optuna_plots.content(db, subject, kind, library, metrics=metrics, params=params)
    if library == "plotly":
        from hpo.report.plots import pages

        title = f"{subject.name}: {kind}"
        return pages.to_html(pages.draw(shown), title).encode()
    from hpo.report.plots import pictures

    return picture(pictures.draw(shown), form)


def chart_plot(chart: Chart, form: str) -> bytes:
    """Draws a chart.

    Args:
        chart: What `learning_charts`, `timeline` and `budget_chart` return.
        form: One of `FORMATS`.
    """
    if form == "html":
        from hpo.report.plots import chart_pages, pages

        return pages.to_html(chart_pages.draw(chart), chart.title).encode()
    from hpo.report.plots import chart_pictures

    return picture(chart_pictures.draw(chart), form)


def picture(figure: Figure, form: str) -> bytes:
    """Returns the file of a figure of matplotlib's.

    Args:
        figure: The figure.
        form: One of `PICTURES`.
    """
    stream = io.BytesIO()
    # Without the date, the same study gives the same file.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    with warnings.catch_warnings():
        # That a font lacks a character, or that labels leave little room.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(stream, format=form, dpi=_DOTS_PER_INCH, metadata=metadata)
    return stream.getvalue()
