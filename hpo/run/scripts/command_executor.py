"""Command executor: runs the command of a study, one trial at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from hpo.run.assignment.assigner import Assigner
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.scheduling import make_assigner
from hpo.run.link.context import WorkerContext
from hpo.run.scripts.epoch_collection import CollectedEpoch
from hpo.run.scripts.running_script import RunningScript, ScriptSettings
from hpo.run.scripts.script_environment import ScriptTrial
from hpo.run.scripts.script_exit import failure_of, unreported
from hpo.run.trials.external_trial import Ending, ExternalTrial
from hpo.run.trials.search_errors import of_owned
from hpo.run.trials.single_trial import SingleTrialExecutor
from hpo.spec.command_line import parse, placeholders
from hpo.spec.space.params import Params
from hpo.spec.study_spec import StudySpec
from hpo.store.ledger.leases import Lease
from hpo.store.studies import resumption

logger = logging.getLogger(__name__)
_WATCH_S: Final = 1.0
"""How long one ``work`` watches a script, so that its worker sees what happens elsewhere."""

_KEEPS: Final = ("paused", "released")


class CommandExecutor(SingleTrialExecutor):
    """Runs one command at a time, and reports for it.

    A script that resumes from its trial's folder is paused and resumed by the search. Any other is
    stopped early, or runs to its end. During an outage of the database it trains on.

    Args:
        context: The study, its ledger and its search.
        base_dir: Folder in which the command runs.
        settings: Of its scripts.
    """

    def __init__(
        self,
        context: WorkerContext,
        base_dir: Path,
        settings: ScriptSettings | None = None,
    ) -> None:
        self._base_dir = base_dir
        self._settings = settings or ScriptSettings()
        call = partial(resumption.resumes, context.db, context.study.study_id)
        shown = context.client.call(call)
        self._resumes = _expected_to_resume(context.study.spec) if shown is None else shown
        super().__init__(context, _assigner_of(context, resumes=self._resumes))
        self._trial: ExternalTrial | None = None
        self._script: RunningScript | None = None
        # Epochs that the script had reported beyond the one that ended it.
        self._rest: Sequence[CollectedEpoch] = ()

    @property
    def held(self) -> frozenset[int]:
        """Id of the trial whose command runs."""
        return frozenset(() if self._trial is None else (self._trial.lease.trial_id,))

    def begin(self, leases: Sequence[Lease]) -> None:
        """Starts the command of a trial in its folder, anew or once more."""
        if not leases:
            return
        context, spec = self._context, self._context.study.spec
        leases, found = of_owned(context, leases, self._assigner.params)
        if not leases or found is None:
            # It was cancelled, or taken over, meanwhile.
            return
        (lease,), (params,) = leases, found
        self._trial = ExternalTrial(
            context, self._assigner, lease, n_epochs=spec.budget.epochs, can_pause=self._resumes
        )
        self._script = self._make_script(lease, params)
        self._report(self._script.new_epochs(final=True))
        if self._trial.ending is None:
            try:
                self._script.start(self._base_dir, context.db.url)
            except OSError as error:
                text = f"the command cannot be started: {error}"
                self._trial.ending = Ending("failed", "user_code", text)

    def work(self) -> None:
        """Watches the script for a while, reports its epochs, and ends the trial if need be."""
        assert self._trial is not None
        assert self._script is not None
        ends_at = time.monotonic() + _WATCH_S
        while self._trial.ending is None and time.monotonic() < ends_at:
            code = self._script.poll()
            if code is None:
                self._script.wait()
                self._hear()
            self._report(self._script.new_epochs(final=code is not None))
            if code is not None:
                self._trial.ending = self._trial.ending or self._ending_of(code)
                break
            self._script.socket.answer(self._script.epochs.last, stop=False)
        if self._trial.ending is None:
            self._trial.check()
        if self._trial.ending is not None:
            self._end()

    def release(self) -> None:
        """Stops the script, which may save, and releases its trial."""
        if self._trial is not None:
            self._trial.ending = self._trial.ending or Ending("released")
            self._end()
        claim, self._next_claim = self._next_claim, None
        self._release_granted(claim)

    # Starting.

    def _make_script(self, lease: Lease, params: Params) -> RunningScript:
        context, spec = self._context, self._context.study.spec
        trial = ScriptTrial(
            study=context.study.name,
            number=lease.number,
            params=dict(params),
            seed=context.seed_of(lease),
            epochs=spec.budget.epochs,
            reported=lease.epoch,
            counted=lease.epoch if self._resumes else 0,
            folder=context.artifacts.trial_folder(lease.number),
            metrics=spec.metrics,
            directions=spec.directions,
        )
        complain = partial(self._complain, lease.number)
        return RunningScript(
            spec, trial, continues=self._resumes, complain=complain, settings=self._settings
        )

    def _complain(self, number: int, text: str) -> None:
        self._context.warn_once("report", f"trial {number}: {text}")

    # While the script runs.

    def _hear(self) -> None:
        """Answers a script that says what it is able to."""
        assert self._trial is not None
        assert self._script is not None
        announced = self._script.socket.announced
        if announced is None:
            return
        resumes, epochs = announced
        trial, spec = self._trial, self._context.study.spec
        if resumes and not trial.can_pause and spec.report.resumes == "auto":
            db, study_id = self._context.db, self._context.study.study_id
            self._context.client.call(lambda: resumption.announce(db, study_id, None))
            trial.can_pause = True
            if not self._resumes:
                self._resumes, self._assigner = True, _assigner_of(self._context, resumes=True)
                trial.use(self._assigner)
        trial.n_epochs = min(spec.budget.epochs, epochs or spec.budget.epochs)
        self._script.socket.grant(trial.n_epochs)

    def _report(self, epochs: Sequence[CollectedEpoch]) -> None:
        assert self._trial is not None
        assert self._script is not None
        if self._begins_again():
            self._give_up_pausing()
        trial, socket = self._trial, self._script.socket
        for index, epoch in enumerate(epochs):
            if epoch.number > trial.n_epochs and trial.values is not None:
                # It has had time to end by itself, and trains on beyond its budget.
                trial.ending = Ending("complete", values=trial.values)
                return
            ending = trial.report(min(epoch.number, trial.n_epochs), epoch.metrics, self._metric)
            # A loop that has announced its epochs ends after the last one.
            is_last = epoch.number >= trial.n_epochs and socket.announced is None
            socket.decide(epoch.number, stop=is_last or ending is not None, save=True)
            if ending is not None:
                self._rest = epochs[index + 1 :]
                return

    @property
    def _metric(self) -> str:
        return self._context.study.spec.metrics[0]

    def _begins_again(self) -> bool:
        """Returns whether the script was paused, and began with its first epoch again."""
        assert self._trial is not None
        assert self._script is not None
        lease = self._trial.lease
        # A script that had reported nothing has nothing to continue from.
        has_saved = lease.checkpoint is not None and Path(lease.checkpoint).is_dir()
        was_paused = self._script.epochs.reported > 0 and has_saved
        return self._trial.can_pause and was_paused and self._script.epochs.first_new == 1

    def _give_up_pausing(self) -> None:
        """Pauses no more trials: they would be trained from their first epoch again."""
        assert self._trial is not None
        context = self._context
        text = (
            "the command, run again for a paused trial, began with epoch 1: it does not resume, so "
            "trials are not paused any more"
        )
        context.warn_once("resumes", text)
        call = partial(resumption.give_up, context.db, context.study.study_id)
        context.client.call(call)
        self._trial.can_pause = self._resumes = False
        self._assigner = _assigner_of(context, resumes=False)
        self._trial.use(self._assigner)

    # Ending.

    def _ending_of(self, code: int) -> Ending:
        """Returns how a trial ends whose script has exited by itself."""
        assert self._trial is not None
        assert self._script is not None
        output = self._script.output
        if code:
            return Ending("failed", *failure_of(code, output))
        values = self._trial.values
        if values is None:
            found = unreported(self._context.study.spec.metrics, self._script.epochs.names, output)
            return Ending("failed", *found)
        return Ending("complete", values=values)

    def _end(self) -> None:
        trial, script = self._trial, self._script
        assert trial is not None
        assert script is not None
        assert trial.ending is not None
        may_end = trial.ending.kind == "paused"
        # Another worker may run a trial whose lease is lost, in the same folder.
        is_lost = trial.ending.kind == "lost"
        code = None if is_lost else script.stop(may_end=may_end, epoch_s=trial.epoch_s)
        if may_end:
            has_exited = code == 0 and not script.was_signalled
            rest = [*self._rest, *script.new_epochs(final=True)]
            self._complete_if_through(trial, rest, has_exited=has_exited)
        # Epochs that it has completed on its way out are reported when it is resumed.
        folder = str(self._context.artifacts.trial_folder(trial.lease.number))
        outcome = trial.outcome(folder if trial.ending.kind in _KEEPS else None)
        script.close()
        self._trial = self._script = None
        self._rest = ()
        self._next_claim = trial.next_claim
        failure = None if outcome is None else self._settle(trial.lease, outcome)
        if failure is not None:
            raise failure

    def _complete_if_through(
        self, trial: ExternalTrial, rest: Sequence[CollectedEpoch], *, has_exited: bool
    ) -> None:
        """Completes a trial whose script came to its end while it was to be paused.

        Args:
            trial: The trial.
            rest: Epochs that it trained while the search decided.
            has_exited: Whether it has ended by itself; it may also be told to end on its way out.
        """
        if not has_exited and not (rest and rest[-1].number >= trial.n_epochs):
            return
        if rest and self._context.study.spec.budget.total_epochs is not None:
            # These epochs were not granted. They are reported when the trial is resumed.
            return
        self._release_granted(trial.next_claim)
        trial.next_claim = None
        trial.complete(((epoch.number, epoch.metrics) for epoch in rest), self._metric)


def _assigner_of(context: WorkerContext, *, resumes: bool) -> Assigner:
    """Returns what claims trials; without pauses the study's pruner stops them."""
    return make_assigner(context) if resumes else SamplerAssigner(context)


def _expected_to_resume(spec: StudySpec) -> bool:
    """Returns whether a command probably resumes: it says so, or it names the trial's folder."""
    if spec.report.resumes != "auto":
        return bool(spec.report.resumes)
    assert spec.command is not None
    return any(one.name == "trial_dir" for one in placeholders(parse(spec.command)))
