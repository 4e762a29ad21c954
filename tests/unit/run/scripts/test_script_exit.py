"""What the end of a command says of its trial."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hpo.run.scripts.script_exit import failure_of, unreported


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output.log"


@pytest.mark.parametrize(
    ("code", "printed", "reason", "last"),
    [
        (1, "a\nValueError: x\n", "user_code", "the command ended with exit code 1: ValueError: x"),
        (2, "", "user_code", "the command ended with exit code 2"),
        (127, "", "user_code", "the command ended with exit code 127, a program was not found"),
        (-signal.SIGTERM, "", "user_code", "the command was ended by SIGTERM"),
        (
            -signal.SIGKILL,
            "",
            "oom",
            "the command was killed by SIGKILL, as the system does when memory runs out",
        ),
        (
            137,
            "",
            "oom",
            "the command was killed by SIGKILL, as the system does when memory runs out",
        ),
        (
            1,
            "torch.OutOfMemoryError: CUDA out of memory.\n",
            "oom",
            "the command ended with exit code 1: torch.OutOfMemoryError: CUDA out of memory.",
        ),
    ],
)
def test_exit_codes_signals_and_memory_are_told_apart(
    output: Path, code: int, printed: str, reason: str, last: str
) -> None:
    output.write_text(printed)
    failure = failure_of(code, output)
    assert failure.reason == reason
    assert failure.message.split("\n")[-1] == last


def test_a_crash_is_named(output: Path) -> None:
    output.write_text("epoch 1\n")
    message = failure_of(-signal.SIGSEGV, output).message
    assert message.startswith("epoch 1\nthe command was ended by SIGSEGV (it accessed memory")


def test_the_end_of_the_output_is_kept_and_printable(output: Path) -> None:
    lines = [f"line {i}" for i in range(100)] + ["0%\r\x1b[31m99%\x1b[0m\x07\x00", "y" * 5000]
    output.write_text("\n".join(lines))
    *kept, last, said = failure_of(1, output).message.split("\n")
    assert kept == [*(f"line {i}" for i in range(82, 100)), "99% "]
    assert len(last) <= 400
    assert said.isprintable()


def test_a_metric_that_was_never_reported_is_named(output: Path) -> None:
    output.write_text("done\n")
    said = unreported(["val_acc"], {"loss", "val_ac"}, output)
    assert said.reason == "user_code"
    assert said.message == (
        "done\nthe command exited with 0 and never reported val_acc; it reported loss, val_ac; "
        "did you mean val_ac?"
    )
    assert "it reported nothing" in unreported(["val_acc"], set(), output).message
    assert "of the same epoch" in unreported(["a", "b"], {"a", "b"}, output).message
