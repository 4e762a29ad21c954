"""A command runs where its exact text is allowed."""

from __future__ import annotations

import pytest

from hpo.errors import TaskError
from hpo.tasks.code.command_permission import permits_command, require_command
from hpo.tasks.code.resolve import Allow

COMMAND = "python train.py --at a:b --lr {lr}"


@pytest.mark.parametrize(
    ("patterns", "may"),
    [
        ((COMMAND,), True),
        (("*",), True),
        ((), False),
        (("python train.py*",), False),
        # What is before a colon is the file of a task's reference.
        (("python train.py --at a",), False),
        (("python", "train.py"), False),
    ],
)
def test_only_the_whole_text_counts(patterns: tuple[str, ...], may: bool) -> None:
    assert permits_command(COMMAND, Allow(patterns)) is may
    assert permits_command(COMMAND, Allow(everything=True))


def test_the_error_has_the_option_to_give() -> None:
    with pytest.raises(TaskError, match="may not run here") as caught:
        require_command(COMMAND, Allow())
    hint = f"allow it with --allow '{COMMAND}'; it runs in the current folder"
    assert caught.value.hint == hint
