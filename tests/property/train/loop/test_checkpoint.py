from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.train.loop.checkpoint import BestWeights, Checkpoint, CheckpointError


@given(st.floats(0, 0.999))
@settings(max_examples=25, deadline=None)
def test_a_truncated_file_is_never_read(share: float) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.pt"
        Checkpoint(1, {}, 1, 2, {"w": torch.ones(500)}, {}, BestWeights(0, {}, {}), None).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError):
            Checkpoint.load(path)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_other_file_is_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.pt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            Checkpoint.load(path)
