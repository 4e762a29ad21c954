"""A decision can be made again from what was written down of it."""

from __future__ import annotations

from hpo.search.base.curves import Curves, State
from hpo.search.base.decision_replay import Record, curves_at
from hpo.search.base.decisions import Ask
from hpo.search.base.grants import Granted, explained
from hpo.search.base.history import ObservedTrial
from hpo.search.base.param_encoding import Encoder
from tests.kits import search_kit as kit


def _rows_now(run: kit.Run) -> list[ObservedTrial]:
    rows = []
    for number, state in run.states.items():
        values = {
            epoch: kit.accuracy(run.params[number], epoch)
            for epoch in range(1, run.epochs[number] + 1)
        }
        final = values[run.epochs[number]] if state == State.COMPLETE else None
        rows.append(ObservedTrial(number, state, run.params[number], values, 0, final))
    return rows


def test_every_plan_of_a_study_can_be_made_again() -> None:
    study = kit.spec(budget={"trials": 22, "epochs": 9})
    run = kit.Run(study, n_places=2)
    texts: list[str] = []
    plans = []
    before: Curves | None = None
    while run.n_epochs < 120:
        curves = run.history.curves()
        ask = Ask(2 - len(run.running), 22 - len(run.states), memory=run.memory)
        plan = run.fill()
        texts.append(Record.of(curves, before, ask, plan).to_json())
        plans.append(plan)
        before = curves
        if plan.finished:
            break
        run.train()
    assert any(plan.advances for plan in plans)
    records = [Record.from_json(text) for text in texts]
    now, encoder = _rows_now(run), Encoder.of_space(study.space)
    for i in range(0, len(plans), 7):
        curves = curves_at(records[: i + 1], now, encoder, maximize=True)
        again = kit.Run(study).scheduler.plan(curves, records[i].ask)
        assert again == plans[i]
    assert len(max(texts, key=len)) < 3000


def test_what_is_told_of_a_decision_names_its_reason() -> None:
    note = {"by": "model", "horizon": 5, "mean": 1.25, "sd": 0.5, "incumbent": 1.0, "gain": 0.1}
    text = explained(Granted(3, 3, 12, False, note))
    assert "continued up to epoch 12" in text
    assert "1.25" in text
    assert "random" in explained(Granted(3, 0, 3, True, {"by": "chance"}))
    for reason in ("knowledge", "startup", "closing", "last", "anew", "enqueued"):
        granted = Granted(0, 0, 3, True, {"by": reason})
        assert explained(granted).startswith("begun up to epoch 3: ")
        assert not explained(granted).endswith(f"by {reason}")
    assert "epoch 9" in explained(Granted(0, 9, 27, False, {"by": "rung", "rung": 9}))
