"""Tracebacks: the text of any exception, and whether hpo or the user's code caused it."""

from __future__ import annotations

import dis
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeAlias

from hpo.errors import HpoError, InternalError

MAX_TEXT: Final = 2_000
"""Characters kept of an exception's text, which may print a whole tensor."""

MAX_REPORT: Final = 20_000
PLEASE_REPORT: Final = "a fault of hpo, not of your code: please report it with its traceback"

_Owner: TypeAlias = Literal["hpo", "library", "user"]
_PACKAGE: Final = Path(__file__).parent
_STDLIB: Final = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
# Dependencies of hpo. Any other package is installed because the user's code needs it.
_LIBRARIES: Final = frozenset(
    {
        *("alembic", "cmaes", "numpy", "optuna", "pandas", "psycopg", "pyarrow", "pydantic"),
        *("pydantic_core", "pymysql", "scipy", "sklearn", "sqlalchemy", "torch"),
    }
)
# These handle objects of the user's tasks: models, tensors, tables.
_OF_TASKS: Final = ("train", "tasks", "data.py")
_WRONG_ARGUMENT: Final = (TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class _Frame:
    """A line of a traceback.

    Attributes:
        owner: Origin of the code.
        where: The file, relative to the package for hpo's own.
        raises: Whether the line is a ``raise`` statement, not a call that raised.
    """

    owner: _Owner
    where: Path
    line: int
    function: str
    raises: bool


def text_of(error: BaseException) -> str:
    """Returns the text of an exception: short and printable, even if its class raises."""
    try:
        text = str(error)
    except BaseException as failure:  # noqa: BLE001 - user code that runs while hpo reports
        return f"<its text cannot be read: {type(failure).__name__}>"
    return encodable(shortened(text))


def headline(error: BaseException) -> str:
    """Returns type and text of an exception: ``ValueError: out of range``."""
    return f"{encodable(type(error).__name__)}: {text_of(error)}".removesuffix(": ")


def report_of(error: BaseException) -> str:
    """Returns the traceback of an exception; its last line is the `headline`.

    For an internal error it also says where it happened, and asks for a bug report.
    """
    try:
        found = traceback.TracebackException.from_exception(error, limit=-60)
        lines = list(found.format())
    except BaseException:  # noqa: BLE001 - such as a class whose attributes raise
        lines = traceback.format_tb(error.__traceback__, limit=-60)
    body = encodable(shortened("".join(lines), MAX_REPORT))
    last = headline(error)
    if is_internal(error):
        return f"{body.rstrip()}\n{_one_line(last)} at {place_of(error)}; {PLEASE_REPORT}"
    return body if body.rstrip().endswith(last) else f"{body.rstrip()}\n{_one_line(last)}"


def internal(doing: str, error: BaseException) -> str:
    """Returns a line about an internal error.

    Args:
        doing: What failed, as the beginning of the line: ``the sampler tpe failed``.
        error: The exception.
    """
    return f"{doing}: {_one_line(headline(error))} at {place_of(error)}; {PLEASE_REPORT}"


def place_of(error: BaseException) -> str:
    """Returns the innermost place of hpo's code: ``hpo/search/model/kernel.py:136 in _trend``."""
    own = [frame for frame in _frames(error.__traceback__) if frame.owner == "hpo"]
    if not own:
        return "an unknown place"
    return f"hpo/{own[-1].where.as_posix()}:{own[-1].line} in {own[-1].function}"


def user_place_of(error: BaseException) -> str:
    """Returns the user's innermost place: ``mine.py, line 12, in metrics``; empty without any."""
    own = [frame for frame in _frames(error.__traceback__) if frame.owner == "user"]
    return f"{own[-1].where.name}, line {own[-1].line}, in {own[-1].function}" if own else ""


def is_internal(error: BaseException) -> bool:
    """Returns whether an exception is a bug in hpo, and not a mistake in the user's code or input.

    It is a bug in hpo if the innermost frame that belongs to hpo or the user belongs to hpo. There
    are two exceptions: user code that calls hpo's functions with wrong arguments, and a task whose
    tensors a library refuses, although hpo has passed them on.
    """
    if isinstance(error, HpoError):
        return isinstance(error, InternalError)
    if not isinstance(error, Exception) or isinstance(error, NotImplementedError | MemoryError):
        return False
    frames = list(_frames(error.__traceback__))
    while frames and frames[-1].owner == "library":
        frames.pop()
    if not frames or frames[-1].owner == "user":
        return False
    n_passed = len(frames)
    innermost = frames[-1]
    is_called = any(frame.owner == "user" for frame in frames)
    if is_called and _is_argument_error(error, innermost):
        return False
    is_refused = _depth(error.__traceback__) > n_passed or isinstance(error, RuntimeError)
    return not (innermost.where.parts[0] in _OF_TASKS and is_refused)


def passes_through(error: BaseException, folders: Sequence[Path]) -> bool:
    """Returns whether an exception's traceback has a frame of code in one of the folders."""
    files = (Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(file.is_relative_to(folder) for file in files for folder in folders)


def encodable(text: str) -> str:
    """Returns a text that every database and terminal accepts: no lone surrogates, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "")


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """Returns a text with its middle left out if it is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[-half:]}"


def shown(value: object) -> str:
    """Returns the ``repr`` of a value, or its type if ``repr`` raises."""
    try:
        text = repr(value)
    except BaseException:  # noqa: BLE001 - user code that runs while hpo reports
        text = f"<{type(value).__name__}>"
    return encodable(shortened(text, 200))


def _is_argument_error(error: Exception, innermost: _Frame) -> bool:
    if isinstance(error, _WRONG_ARGUMENT):
        return True
    if innermost.where.parts[0] in _OF_TASKS and isinstance(error, AttributeError):
        return True
    return innermost.raises and not isinstance(error, AssertionError)


def _frames(tb: TracebackType | None) -> Iterator[_Frame]:
    while tb is not None:
        code = tb.tb_frame.f_code
        owner, where = _owner(code.co_filename)
        raises = tb.tb_next is None and code.co_code[tb.tb_lasti] == _RAISE
        yield _Frame(owner, where, tb.tb_lineno, code.co_name, raises)
        tb = tb.tb_next


_RAISE: Final = dis.opmap["RAISE_VARARGS"]


def _depth(tb: TracebackType | None) -> int:
    return sum(1 for _ in traceback.walk_tb(tb))


def _owner(filename: str) -> tuple[_Owner, Path]:
    path = Path(filename)
    # Tasks of the conformance suites raise on purpose, like a user's task.
    if path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "testing"):
        return "hpo", path.relative_to(_PACKAGE)
    for i, part in enumerate(path.parts[:-1]):
        if part in ("site-packages", "dist-packages"):
            package = path.parts[i + 1].removesuffix(".py")
            return ("library" if package in _LIBRARIES else "user"), path
    is_standard = filename.startswith("<frozen") or any(map(path.is_relative_to, _STDLIB))
    return ("library" if is_standard else "user"), path


def _one_line(text: str) -> str:
    return " ".join(text.split())
