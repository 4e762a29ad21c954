"""Pages: plots by plotly, each as one HTML file that opens without a network."""

from __future__ import annotations

import html
from typing import Final

import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution

from hpo.report.plots import optuna_plots
from hpo.report.plots.optuna_plots import KINDS, Content
from hpo.report.plots.optuna_study import STOPPED

_LABELS: Final = {
    "Feasible": "complete",
    "Infeasible": "stopped early",
    "Feasible Trial": "complete",
    "Infeasible Trial": "stopped early",
}
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette for colour-blind readers."""
_STOPPED_COLOUR: Final = "#cccccc"
_PANEL: Final = 260
"""Height of a panel in a grid, in pixels."""
# Nothing is loaded. plotly.js compiles functions for plots in three dimensions.
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:"
)
_CONFIG: Final = {"displaylogo": False, "responsive": True}


def draw(shown: Content) -> go.Figure:
    """Draws a plot of Optuna's for a page."""
    figure = optuna_plots.draw(shown, "plotly")
    restyle(figure, shown.title, shown.summary)
    figure.update_layout(height=_height(shown))
    # Optuna calls them feasible and infeasible.
    for trace in figure.data:
        if trace.name in _LABELS:
            trace.name = _LABELS[trace.name]
    if shown.kind == "importance":
        _restyle_importance(figure, shown)
    if shown.kind == "slice":
        _restyle_slice(figure, shown)
    if shown.kind == "contour":
        figure.update_traces(
            marker={"size": 4, "line": {"width": 0.5}}, selector={"type": "scatter"}
        )
    if shown.kind == "pareto":
        _restyle_pareto(figure, shown)
    if shown.kind == "parallel":
        figure.update_layout(margin={"t": 130}, legend={"y": 1.03})
    return figure


def restyle(figure: go.Figure, title: str, note: str) -> None:
    """Sets the title of a figure, a note below it, and hpo's style.

    Args:
        figure: The figure.
        title: Escaped for HTML.
        note: Escaped for HTML.
    """
    figure.update_layout(
        template="plotly_white",
        title={
            "text": title,
            "subtitle": {"text": note, "font": {"size": 12, "color": "#666666"}},
            "x": 0.02,
            "xanchor": "left",
            "y": 0.98,
            "yanchor": "top",
            "yref": "container",
            "font": {"size": 17},
        },
        margin={"t": 90, "l": 70, "r": 40, "b": 60},
        font={"family": "system-ui, sans-serif", "size": 12},
        width=None,
    )
    figure.update_xaxes(exponentformat="power")
    figure.update_yaxes(exponentformat="power")


def to_html(figure: go.Figure, title: str) -> str:
    """Returns a page that holds the figure and plotly.js.

    Args:
        figure: The figure.
        title: Of the page, as text.
    """
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=_CONFIG)
    head = (
        f"<title>{html.escape(title)}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    text: str = page.replace("</head>", f"{head}</head>", 1)
    return text


def _height(shown: Content) -> int:
    n = len(shown.params)
    if KINDS[shown.kind].is_grid and n > 2:
        return _PANEL * n + 140
    if shown.kind == "importance":
        return max(300, 28 * n * len(shown.metrics) + 180)
    return 560


def _restyle_importance(figure: go.Figure, shown: Content) -> None:
    figure.update_layout(xaxis_title="share of the importance", yaxis_title="")
    figure.update_layout(showlegend=len(shown.metrics) > 1, colorway=COLOURS)
    # The text of Optuna's names the class of a distribution.
    figure.update_traces(hovertemplate="%{y}: %{x:.3f}<extra></extra>")


def _restyle_pareto(figure: go.Figure, shown: Content) -> None:
    """Colours trials by what they are, and not by their number."""
    size = 4 if len(shown.metrics) > 2 else 7
    for trace in figure.data:
        is_front = "Best Trial" in (trace.hovertemplate or "")
        name = "on the front" if is_front else "dominated"
        trace.marker = {"color": COLOURS[1] if is_front else COLOURS[0], "size": size}
        trace.update(name=name, showlegend=True, hovertemplate=f"%{{text}}<extra>{name}</extra>")


def _restyle_slice(figure: go.Figure, shown: Content) -> None:
    """Draws stopped trials behind the complete ones."""
    stopped = [trace for trace in figure.data if trace.name == _LABELS["Infeasible Trial"]]
    others = [trace for trace in figure.data if trace.name != _LABELS["Infeasible Trial"]]
    for i, name in enumerate(sorted(shown.params), start=1):
        axis = "" if i == 1 else str(i)
        # Optuna leaves out infeasible trials where a parameter has choices.
        points = [
            (repr(trial.params[name]), trial.values[0])
            for trial in shown.study.get_trials()
            if STOPPED in trial.system_attrs
            and isinstance(trial.distributions.get(name), CategoricalDistribution)
        ]
        if points and not any(trace.xaxis in (f"x{axis}", None) for trace in stopped):
            xs, ys = zip(*points, strict=True)
            trace = go.Scatter(
                x=xs,
                y=ys,
                mode="markers",
                name=_LABELS["Infeasible Trial"],
                marker={"color": _STOPPED_COLOUR},
                showlegend=False,
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
            )
            figure.add_trace(trace)
            stopped.append(figure.data[-1])
    for trace in stopped:
        trace.marker.line = {"width": 0.5, "color": "grey"}
    figure.data = [*stopped, *others]
    if len(shown.params) > 1:
        figure.update_layout(width=max(900, 200 * len(shown.params)))
