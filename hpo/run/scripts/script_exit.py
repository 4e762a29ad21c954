"""Script exit: what the end of a command says of its trial."""

from __future__ import annotations

import re
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hpo.errors import did_you_mean
from hpo.run.scripts.failed_ranks import failed_rank
from hpo.run.scripts.script_output import without_escapes
from hpo.run.scripts.tailed_file import last_lines
from hpo.tracebacks import encodable, shortened

N_LINES: Final = 20
"""Lines of the output that an event keeps."""
_N_SEARCHED: Final = 400  # torchrun's own report and its traceback are longer than what is kept
_LONGEST: Final = 300
_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|std::bad_alloc|\bMemoryError\b|Cannot allocate memory", re.I
)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_FATAL: Final = {
    signal.SIGSEGV: "it accessed memory that is not its own",
    signal.SIGABRT: "it aborted",
    signal.SIGBUS: "it accessed memory that is not there; /dev/shm may be full",
    signal.SIGFPE: "it divided by zero",
    signal.SIGILL: "it has an instruction that this processor lacks",
}


class ScriptFailure(NamedTuple):
    """Why a command failed.

    Attributes:
        reason: ``oom`` or ``user_code``.
        message: The end of its output; the last line says what happened.
    """

    reason: str
    message: str


def failure_of(code: int, output: Path) -> ScriptFailure:
    """Returns why a command failed that was not told to end.

    Args:
        code: Its exit code, negative for a signal; not 0.
        output: What it printed.
    """
    rank = failed_rank(last_lines(output, _N_SEARCHED))
    last = last_lines(output, N_LINES) if rank is None else rank.lines[-N_LINES:]
    lines = [_printable(line) for line in last]
    number = signal_of(code if rank is None else rank.code)
    is_oom = number == signal.SIGKILL or any(map(_OUT_OF_MEMORY.search, lines))
    who = "the command" if rank is None else f"rank {rank.number}"
    said = _how(code if rank is None else rank.code, number, who)
    if lines:
        said += f": {lines[-1]}"
    return ScriptFailure("oom" if is_oom else "user_code", "\n".join([*lines, said]))


def signal_of(code: int) -> int | None:
    """Returns the signal that ended a process, or the child of a shell; None without one."""
    number = -code if code < 0 else code - 128
    is_signal = number in signal.valid_signals() and number > 0
    return number if is_signal else None


def unreported(metrics: Sequence[str], names: Collection[str], output: Path) -> ScriptFailure:
    """Returns the failure of a command that ended well and never reported a metric of the study.

    Args:
        metrics: Those of the study.
        names: Those that it reported.
        output: What it printed.
    """
    missing = [name for name in metrics if name not in names]
    lines = [_printable(line) for line in last_lines(output, N_LINES)]
    if not missing:
        listed = " and ".join(metrics)
        said = f"the command exited with 0 and never reported {listed} of the same epoch"
    else:
        listed = ", ".join(sorted(_printable(name) for name in names)[:N_LINES])
        how = "--pattern or [report] finds values in what it prints"
        heard = f"it reported {listed}" if names else f"it reported nothing ({how})"
        hint = did_you_mean(missing[0], names)
        said = f"the command exited with 0 and never reported {missing[0]}; {heard}{hint}"
    return ScriptFailure("user_code", "\n".join([*lines, said]))


def _how(code: int, number: int | None, who: str) -> str:
    if number == signal.SIGKILL:
        return f"{who} was killed by SIGKILL, as the system does when memory runs out"
    if number is not None:
        name = signal.Signals(number).name
        more = _FATAL.get(signal.Signals(number))
        return f"{who} was ended by {name}" + (f" ({more})" if more else "")
    if code == _NOT_FOUND:
        return f"{who} ended with exit code 127, a program was not found"
    if code == _NOT_EXECUTABLE:
        return f"{who} ended with exit code 126, a program cannot be executed"
    return f"{who} ended with exit code {code}"


def _printable(line: str) -> str:
    text = encodable(without_escapes(line))
    return shortened("".join(c if c.isprintable() else " " for c in text), _LONGEST)
