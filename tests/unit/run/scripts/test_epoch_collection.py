"""Whole epochs, each once and in order, from the rows of a script."""

from __future__ import annotations

from hpo.run.scripts.epoch_collection import EpochCollection
from hpo.run.scripts.report_rows import ReportRow


def collection(*required: str, reported: int = 0, counts_on: bool = True) -> EpochCollection:
    return EpochCollection(required or ("acc",), reported, counts_on)


def numbers(epochs: EpochCollection, *rows: tuple[int | None, float]) -> list[int]:
    found = [epochs.add(ReportRow(epoch, {"acc": acc})) for epoch, acc in rows]
    return [one.number for one in found if one is not None]


def test_epochs_come_once_and_in_order() -> None:
    epochs = collection(reported=2)
    assert numbers(epochs, (1, 0.1), (3, 0.3), (2, 0.2), (3, 0.4), (5, 0.5), (4, 0.4)) == [3, 5]
    assert epochs.last == 5


def test_a_script_whose_first_epoch_is_0_counts_from_0() -> None:
    """Also after it was resumed: what it had said before is still there."""
    epochs = collection()
    assert numbers(epochs, (0, 0.1), (1, 0.2)) == [1, 2]
    epochs.begin()
    assert numbers(epochs, (2, 0.3)) == [3]
    assert epochs.first_new == 3


def test_an_epoch_is_whole_when_it_has_all_metrics() -> None:
    epochs = collection("acc", "size")
    assert epochs.add(ReportRow(1, {"loss": 2.0, "acc": 0.5})) is None
    whole = epochs.add(ReportRow(1, {"size": 3.0}))
    assert whole is not None
    assert whole.metrics == {"loss": 2.0, "acc": 0.5, "size": 3.0}
    assert epochs.add(ReportRow(1, {"size": 4.0})) is None
    assert epochs.names == {"loss", "acc", "size"}


def test_a_script_that_does_not_count_is_counted_for() -> None:
    epochs = collection()
    assert numbers(epochs, (None, 0.1), (None, 0.2)) == [1, 2]
    epochs.begin()
    assert numbers(epochs, (None, 0.3)) == [3]
    assert epochs.first_new is None


def test_a_script_that_begins_anew_is_counted_from_1() -> None:
    epochs = collection(reported=2, counts_on=False)
    assert numbers(epochs, (None, 0.1), (None, 0.2), (None, 0.3)) == []
    epochs.begin()
    assert numbers(epochs, (None, 0.1), (None, 0.2), (None, 0.3)) == [3]


def test_the_first_epoch_of_a_script_that_begins_anew_is_noted() -> None:
    epochs = collection(reported=2)
    assert numbers(epochs, (1, 0.1), (2, 0.2)) == []
    epochs.begin()
    assert numbers(epochs, (1, 0.1), (2, 0.1)) == []
    assert epochs.first_new == 1
