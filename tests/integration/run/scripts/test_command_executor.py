"""Commands in workers: pauses, ends of all kinds, and what a script gets to see."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from hpo.run.link.context import WorkerContext
from hpo.run.scripts.command_executor import CommandExecutor
from hpo.run.scripts.running_script import ScriptSettings
from hpo.run.trials.executor import Executor
from hpo.run.worker.worker_loop import Worker
from hpo.spec.study_spec import StudySpec
from hpo.store.ledger.leases import Lease
from hpo.store.studies import resumption
from hpo.testing.executors import ExecutorTestCase

pytestmark = pytest.mark.integration
EPOCHS = 9
SHORT = ScriptSettings(grace_s=5.0, natural_s=0.1)
PATTERN = r"epoch (?P<epoch>\d+) loss (?P<loss>\S+)"
# Each run also writes down its first epoch; it saves before it prints.
LOOP = """
d={trial_dir}
n=0
[ -f $d/saved ] && n=$(cat $d/saved)
echo $((n + 1)) >> $d/starts
while [ $n -lt 9 ]; do
  n=$((n + 1))
  echo $n > $d/saved
  echo "epoch $n loss $(echo {x} | cut -c1-6)$n"
  sleep 0.2
done
"""
ASKS = """
import os, hpo
epoch = 1
while not hpo.report(epoch=epoch, loss=1 / epoch):
    epoch += 1
open(os.environ["HPO_TRIAL_DIR"] + "/told", "w").write(str(epoch))
"""
RUNS = """
import hpo
run = hpo.Run()
for epoch in run.epochs(50):
    run.report(loss=1 / epoch)
(run.dir / "end").touch()
"""


COUNTED = """
import os, hpo
folder = os.environ["HPO_TRIAL_DIR"]
saved = folder + "/saved"
n = int(open(saved).read()) if os.path.exists(saved) else 0
while n < 9:
    n += 1
    open(saved, "w").write(str(n))
    if hpo.report(loss=n):
        break
"""


class CommandTestCase(ExecutorTestCase):
    """A shell script as a command."""

    script: str = LOOP
    sampler, pruner = "random", "none"
    seen: Callable[[WorkerContext], None] | None = None

    def spec(self) -> StudySpec:
        return StudySpec(
            name="script",
            command="/bin/sh run.sh {trial_dir} {x}",
            metric="loss",
            direction="minimize",
            report={"pattern": PATTERN},
            budget={"trials": self.n_trials, "epochs": EPOCHS},
            space={"x": {"low": 0.1, "high": 1.0}},
            sampler={"name": self.sampler},
            pruner={"name": self.pruner},
        )

    def make_executor(self, context: WorkerContext, code: Callable[[], None]) -> Executor:
        text = self.script.replace("{trial_dir}", "$1").replace("{x}", "$2")
        (self._folder / "run.sh").write_text(text)
        return _Calling(context, self._folder, SHORT, code)

    @property
    def folders(self) -> Sequence[Path]:
        return sorted(self._folder.glob("artifacts/**/trial-*"))

    def run_all(self) -> None:
        assert Worker(*self.join()).run() == "exhausted"


class _Calling(CommandExecutor):
    """Calls code of a test when a trial has begun."""

    def __init__(
        self,
        context: WorkerContext,
        folder: Path,
        settings: ScriptSettings,
        code: Callable[[], None],
    ) -> None:
        super().__init__(context, folder, settings)
        self._code = code

    def begin(self, leases: Sequence[Lease]) -> None:
        super().begin(leases)
        self._code()


class TestCommands(CommandTestCase):
    """The suite of all executors."""

    script = LOOP.replace("sleep 0.2", "sleep 0.02")

    # Its code raises in the process of the worker; a command has another one.
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]


class TestScriptsThatEndBeforeTheyArePaused(CommandTestCase):
    """All epochs that they report count."""

    sampler, pruner = "auto", "auto"
    script = 'for n in 1 2 3 4 5 6 7 8 9; do echo "epoch $n loss $((10 - n))"; done'

    def finish(self) -> None:
        self.run_all()
        assert all(list(t.intermediate_values) == list(range(1, 10)) for t in self.trials())
        assert {trial.value for trial in self.trials()} == {1.0}

    def test_trials_are_trained_reported_and_settled(self) -> None:
        self.finish()

    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


@pytest.mark.slow
class TestPauses(CommandTestCase):
    """The default search pauses and resumes by the trial's folder."""

    n_trials = 8
    sampler, pruner = "auto", "auto"

    def finish(self) -> None:
        self.run_all()
        assert len(self.trials()) == self.n_trials

    def test_trials_are_trained_reported_and_settled(self) -> None:
        self.finish()
        starts = [[int(n) for n in (f / "starts").read_text().split()] for f in self.folders]
        assert any(len(one) > 1 for one in starts)
        assert all(one == sorted(one) for one in starts)
        for trial in self.trials():
            assert list(trial.intermediate_values) == list(
                range(1, len(trial.intermediate_values) + 1)
            )
        assert TrialState.COMPLETE in {trial.state for trial in self.trials()}

    # The suite counts complete trials, and the search prunes some here.
    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


class TestScriptsThatBeginAgain(TestPauses):
    """They are paused once; from then on trials are only stopped."""

    script = LOOP.replace("[ -f $d/saved ]", "false")

    def test_trials_are_trained_reported_and_settled(self) -> None:
        self.finish()
        context, _ = self.join()
        assert resumption.resumes(context.db, context.study.study_id) is False
        assert len(self.events_of("resumes")) == 1
        for trial in self.trials():
            assert list(trial.intermediate_values) == list(
                range(1, len(trial.intermediate_values) + 1)
            )


class TestEnds(CommandTestCase):
    """One trial for each way to end."""

    n_trials = 1

    def end(self, script: str) -> tuple[Any, str]:
        self.script = script
        self.run_all()
        (trial,) = self.trials()
        return trial, "\n".join([*self.events_of("user_code"), *self.events_of("oom")])

    @pytest.mark.parametrize(
        ("script", "kind", "said"),
        [
            ("echo gone; exit 3", "user_code", "exit code 3: gone"),
            ("kill -s SEGV $$", "user_code", "SIGSEGV"),
            ("kill -s KILL $$", "oom", "SIGKILL"),
            ("echo 'CUDA out of memory. Tried'; exit 1", "oom", "exit code 1: CUDA out of memory"),
            ("echo '{\"los\": 1}' >> {trial_dir}/metrics.jsonl", "user_code", "did you mean los?"),
        ],
    )
    def test_a_failure_says_how_the_script_ended(self, script: str, kind: str, said: str) -> None:
        trial, message = self.end(script)
        assert trial.state == TrialState.FAIL
        assert said in message
        assert len(self.events_of(kind)) == 1

    def test_not_a_number_ends_the_trial(self) -> None:
        trial, _ = self.end("echo 'epoch 1 loss nan'; sleep 30")
        assert trial.state == TrialState.PRUNED
        assert len(self.events_of("nan")) == 1

    def test_a_script_that_ends_early_is_complete_with_its_best_value(self) -> None:
        trial, _ = self.end("for n in 5 2 4; do echo epoch $((i += 1)) loss $n; done")
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 2.0)
        assert list(trial.intermediate_values.values()) == [5.0, 2.0, 4.0]

    def test_half_a_line_is_no_report(self) -> None:
        lines = '{"epoch": 1, "loss": 3}\\n{"epoch": 2, "lo'
        trial, _ = self.end(f"printf '%b' '{lines}' > {{trial_dir}}/metrics.jsonl")
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 3.0)
        assert "metrics.jsonl:2" in self.events_of("report")[0]

    def test_a_script_sees_its_trial_and_no_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        monkeypatch.setenv("HPO_STORAGE", "postgresql://me:hunter2@db/hpo")
        trial, _ = self.end("env > {trial_dir}/env; echo epoch 1 loss 1")
        (folder,) = self.folders
        env = dict(
            line.split("=", 1) for line in (folder / "env").read_text().splitlines() if "=" in line
        )
        assert "hunter2" not in "".join(env.values())
        assert "HPO_STORAGE" not in env
        assert float(env["HPO_PARAM_X"]) == trial.params["x"]
        assert json.loads(Path(env["HPO_PARAMS_FILE"]).read_text()) == trial.params
        assert (env["HPO_TRIAL"], env["HPO_EPOCHS"], env["HPO_METRIC"]) == ("0", "9", "loss")

    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_trials_are_trained_reported_and_settled = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


@pytest.mark.slow
class TestCounts(CommandTestCase):
    """A script that calls ``hpo.report`` without an epoch counts on after a pause."""

    sampler, pruner = "auto", "auto"
    n_trials = 6

    def test_epochs_are_counted_on_when_a_trial_is_resumed(self) -> None:
        self.script = f"exec {sys.executable} {self._folder}/train.py"
        (self._folder / "train.py").write_text(COUNTED)
        self.run_all()
        reported = [trial.intermediate_values for trial in self.trials()]
        # Its loss is the number of the epoch by its own count.
        assert all(step == loss for values in reported for step, loss in values.items())
        assert max(map(len, reported)) == EPOCHS
        assert min(map(len, reported)) < EPOCHS

    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_trials_are_trained_reported_and_settled = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


@pytest.mark.slow
class TestTotalEpochs(CommandTestCase):
    """The budget of all epochs holds for scripts that are faster than the search decides."""

    sampler, pruner = "auto", "auto"
    n_trials, total = 8, 30

    def spec(self) -> StudySpec:
        return super().spec().with_budget(total_epochs=self.total)

    @pytest.mark.parametrize("resumes", [True, False])
    def test_no_more_epochs_are_reported(self, resumes: bool) -> None:
        # One that resumes saves where it is.
        start = "$(cat $1/saved 2>/dev/null || echo 0)" if resumes else "0"
        save = "echo $n > $1/saved;" if resumes else ""
        self.script = (
            f"n={start}; while [ $n -lt 9 ]; do n=$((n + 1)); {save} echo epoch $n loss $2$n; done"
        )
        self.run_all()
        lengths = [len(trial.intermediate_values) for trial in self.trials()]
        assert sum(lengths) <= self.total
        assert max(lengths) == EPOCHS

    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_trials_are_trained_reported_and_settled = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


@pytest.mark.slow
class TestBudget(CommandTestCase):
    """No script trains far beyond its budget of epochs."""

    n_trials = 2

    def finish(self) -> None:
        self.run_all()
        for trial in self.trials():
            assert trial.state == TrialState.COMPLETE
            assert list(trial.intermediate_values) == list(range(1, EPOCHS + 1))

    @pytest.mark.parametrize(
        "report",
        [
            "echo epoch $n loss $n",
            "echo '{\"epoch\": '$n', \"loss\": 1}' >> {trial_dir}/metrics.jsonl",
        ],
    )
    def test_a_script_that_trains_on_is_complete(self, report: str) -> None:
        self.script = f"n=0; while n=$((n + 1)); do {report}; sleep 0.02; done"
        self.finish()

    def test_a_script_that_asks_is_told_after_its_last_epoch(self) -> None:
        self.script = f"exec {sys.executable} {self._folder}/train.py"
        (self._folder / "train.py").write_text(ASKS)
        self.finish()
        assert all((f / "told").read_text() == str(EPOCHS) for f in self.folders)

    def test_a_script_with_a_loop_of_run_comes_to_its_end(self) -> None:
        self.script = f"exec {sys.executable} {self._folder}/train.py"
        (self._folder / "train.py").write_text(RUNS)
        self.finish()
        assert all((f / "end").exists() for f in self.folders)

    test_a_trial_is_held_by_one_worker_only = None  # type: ignore[assignment]
    test_trials_are_trained_reported_and_settled = None  # type: ignore[assignment]
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_a_worker_that_is_told_to_stop_releases_its_trials = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]
