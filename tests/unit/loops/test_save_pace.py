"""How often trials are saved."""

from __future__ import annotations

from hpo.loops.save_pace import SavePaceSettings


def test_a_long_epoch_is_saved_always_and_short_ones_at_a_tenth_of_the_time() -> None:
    is_due = SavePaceSettings().is_due
    assert is_due(epoch_s=1.5, trained_s=1.5, saving_s=60)
    assert is_due(epoch_s=0.1, trained_s=0.1, saving_s=0.0)
    assert not is_due(epoch_s=0.1, trained_s=0.4, saving_s=0.05)
    assert is_due(epoch_s=0.1, trained_s=0.5, saving_s=0.05)
