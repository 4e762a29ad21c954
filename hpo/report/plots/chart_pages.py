"""Chart pages: charts drawn by plotly, for HTML."""

from __future__ import annotations

from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.report.plots import pages
from hpo.report.plots.chart import PALE, Bars, Chart, Dots, Line, Mark, Panel
from hpo.report.plots.texts import escaped

_PIXELS: Final = 110
"""Of an inch."""


def draw(chart: Chart) -> go.Figure:
    """Draws a chart."""
    figure = make_subplots(rows=1, cols=len(chart.panels), horizontal_spacing=0.09)
    labels: set[str] = set()
    for column, panel in enumerate(chart.panels, start=1):
        place = {"row": 1, "col": column}
        for trace in [*_behind(panel), *(_trace(mark) for mark in panel.marks)]:
            if trace.name is not None:
                # Panels share one legend.
                trace.update(legendgroup=trace.name, showlegend=trace.name not in labels)
                labels.add(trace.name)
            figure.add_trace(trace, **place)
        figure.update_xaxes(title_text=escaped(panel.x_label), **place)
        figure.update_yaxes(title_text=escaped(panel.y_label), **place)
        if panel.y_range is not None:
            figure.update_yaxes(range=list(panel.y_range), **place)
        if panel.rows:
            figure.update_yaxes(
                tickmode="array",
                tickvals=[y for y, _ in panel.rows],
                ticktext=[escaped(text) for _, text in panel.rows],
                showgrid=False,
                **place,
            )
    pages.restyle(figure, escaped(chart.title), escaped(chart.note))
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    height = max(480, round(chart.height * _PIXELS))
    figure.update_layout(height=height, margin={"t": 120}, legend=legend, barmode="overlay")
    return figure


def _behind(panel: Panel) -> list[go.Scatter]:
    """Returns all thin lines as one trace, which is quick to draw."""
    if not panel.behind:
        return []
    xs: list[float | None] = []
    ys: list[float | None] = []
    for line_xs, line_ys in panel.behind:
        xs += [*line_xs, None]
        ys += [*line_ys, None]
    return [
        go.Scatter(
            x=xs,
            y=ys,
            mode="lines",
            line={"color": PALE, "width": 0.7},
            opacity=0.5,
            hoverinfo="skip",
            showlegend=False,
        )
    ]


def _trace(mark: Mark) -> Any:
    name = escaped(mark.label)
    if isinstance(mark, Line):
        return go.Scatter(
            x=mark.xs,
            y=mark.ys,
            name=name,
            mode="lines" if len(mark.xs) > 1 else "markers",
            line={
                "color": mark.colour,
                "dash": "dash" if mark.is_dashed else "solid",
                "shape": "hv" if mark.is_step else "linear",
            },
        )
    notes: dict[str, Any] = {}
    if mark.notes:
        notes = {
            "hovertext": [escaped(note) for note in mark.notes],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
    return _dots(mark, name, notes) if isinstance(mark, Dots) else _bars(mark, name, notes)


def _dots(mark: Dots, name: str, notes: dict[str, Any]) -> Any:
    symbol = "x-thin-open" if mark.is_cross else "circle" if mark.is_filled else "circle-open"
    size = 10 if mark.is_cross else 6
    marker: dict[str, Any] = {"color": mark.colour, "symbol": symbol, "size": size}
    if mark.is_cross:
        marker["line"] = {"width": 2, "color": mark.colour}
    return go.Scatter(x=mark.xs, y=mark.ys, name=name, mode="markers", marker=marker, **notes)


def _bars(mark: Bars, name: str, notes: dict[str, Any]) -> Any:
    marker: dict[str, Any] = {"color": mark.colour, "line": {"width": 0.5, "color": "white"}}
    if mark.is_hatched:
        marker["pattern"] = {"shape": "/", "size": 5}
    return go.Bar(
        x=mark.widths,
        y=mark.ys,
        base=mark.starts,
        width=0.86,
        name=name,
        orientation="h",
        marker=marker,
        **notes,
    )
