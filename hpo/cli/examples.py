"""Examples: command lines that ``--help`` shows at its end, by command."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "run": (
        "hpo run study.toml",
        "hpo run study.toml --trials 200 -j 4",
        "hpo run study.toml --set space.learning_rate.high=0.1 --set seed=7",
        "hpo run --objective train.py:objective --trials 50",
    ),
    "worker": (
        "hpo worker churn --storage postgresql://lab@db/hpo",
        "hpo worker churn --device cuda:0,1",
    ),
    "ls": ("hpo ls", "hpo ls -f json"),
    "show": ("hpo show churn", "hpo show churn --trial 17", "hpo show churn --outlook"),
    "watch": ("hpo watch churn", "hpo watch churn --once"),
    "top": ("hpo top", "hpo top --once"),
    "trials": (
        "hpo trials churn --sort best -n 10",
        "hpo trials churn --state fail",
        "hpo trials churn -f csv > trials.csv",
    ),
    "best": ("hpo best churn", "hpo best churn --params"),
    "compare": ("hpo compare churn churn-wide", "hpo compare churn churn-wide -o compare.png"),
    "confirm": ("hpo confirm churn --top 3 --seeds 5",),
    "predict": (
        "hpo predict churn customers.csv -o predictions.csv",
        "hpo predict model.pt customers.csv",
    ),
    "export": (
        "hpo export churn -o model",
        "hpo export churn -o model --onnx --mlflow sqlite:///mlflow.db",
    ),
    "plot curves": ("hpo plot curves churn --trial 17 -o curves.svg",),
    "plot history": ("hpo plot history churn -o history.png",),
    "plot importance": ("hpo plot importance churn -o importance.html",),
    "plot parallel": ("hpo plot parallel churn -o parallel.html",),
    "plot slice": ("hpo plot slice churn --param learning_rate -o slice.png",),
    "plot contour": ("hpo plot contour churn --param learning_rate --param depth",),
    "plot rank": ("hpo plot rank churn -o rank.html",),
    "plot timeline": ("hpo plot timeline churn -o timeline.html",),
    "plot pareto": ("hpo plot pareto churn -o pareto.html",),
    "plot budget": ("hpo plot budget churn -o budget.png",),
    "report": ("hpo report churn -o report.html",),
    "logs": ("hpo logs churn -n 50", "hpo logs churn 17", "hpo logs churn -f"),
    "replay": ("hpo replay churn --trial 17", "hpo replay churn --check"),
    "pause": ("hpo pause churn",),
    "resume": ("hpo resume churn",),
    "stop": ("hpo stop churn",),
    "cancel": ("hpo cancel churn 17 18",),
    "retry": ("hpo retry churn", "hpo retry churn --reason oom"),
    "enqueue": ("hpo enqueue churn learning_rate=0.01 depth=3",),
    "update": ("hpo update churn --trials 200", "hpo update churn --hours 8"),
    "rename": ("hpo rename churn churn-2026",),
    "delete": ("hpo delete churn --yes",),
    "dashboard": ("hpo dashboard", "hpo dashboard --port 8081"),
    "init": (
        "hpo init --data churn.csv --target churned",
        "hpo init --from digits-mlp study.toml",
    ),
    "check": ("hpo check study.toml", "hpo check study.toml --set space.depth.high=8"),
    "doctor": ("hpo doctor", "hpo doctor --storage postgresql://lab@db/hpo"),
    "completion": ("hpo completion bash --install", "hpo completion fish > hpo.fish"),
    "db upgrade": ("hpo db upgrade --storage sqlite:///old.db",),
    "db current": ("hpo db current",),
    "db check": ("hpo db check",),
    "db copy": ("hpo db copy sqlite:///hpo.db postgresql://lab@db/hpo",),
}
"""``COMMAND`` or ``GROUP COMMAND`` -> lines as typed."""


def examples_of(command_path: str) -> tuple[str, ...]:
    """Returns the examples of a command.

    Args:
        command_path: As click has it: ``hpo plot curves``.
    """
    return EXAMPLES.get(command_path.partition(" ")[2], ())
