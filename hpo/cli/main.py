"""The command ``hpo``: finds the subcommand, and turns each error into one line and an exit code.

Nothing heavy is loaded here: each command's module is imported when it is called.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from hpo import __version__
from hpo.cli.gc_pause import quickly
from hpo.cli.messages import Logs, complain, explain_input, explain_traceback, explain_usage
from hpo.cli.options import Group
from hpo.errors import HpoError

INTERRUPTED = 130

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("hpo.cli.commands.run:run", "Tune a study: create it, join it, or resume it."),
    "worker": ("hpo.cli.commands.run:worker", "Join a study that another machine has created."),
    "ls": ("hpo.cli.commands.show:ls", "List the studies of a database."),
    "show": ("hpo.cli.commands.show:show", "Show a study: budget, workers, failures, events."),
    "watch": ("hpo.cli.commands.watch:watch", "Watch a study while workers work on it."),
    "top": ("hpo.cli.commands.top:top", "Watch all studies and workers of a database."),
    "trials": ("hpo.cli.commands.trials:trials", "List the trials of a study."),
    "best": ("hpo.cli.commands.trials:best", "Show the best trial and its parameters."),
    "confirm": (
        "hpo.cli.commands.confirm:confirm",
        "Train the best trials again with new seeds, and compare them.",
    ),
    "predict": (
        "hpo.cli.commands.predict:predict",
        "Predict new samples with the best trial's models.",
    ),
    "export": (
        "hpo.cli.commands.export:export",
        "Export a model as a folder that predicts without hpo.",
    ),
    "plot": ("hpo.cli.commands.plot:plot", "Draw a study: values, curves, parameters."),
    "compare": ("hpo.cli.commands.compare:compare", "Compare studies of one metric."),
    "logs": (
        "hpo.cli.commands.logs:logs",
        "Print what workers and trials have printed.",
    ),
    "report": (
        "hpo.cli.commands.report_file:report",
        "Write a page about a study, for others to read.",
    ),
    "replay": (
        "hpo.cli.commands.replay:replay",
        "Show why trials were proposed, started and resumed.",
    ),
    "pause": (
        "hpo.cli.commands.steering.orders:pause",
        "Suspend the running trials and start no new ones.",
    ),
    "resume": ("hpo.cli.commands.steering.orders:resume", "Resume a paused or stopped study."),
    "stop": (
        "hpo.cli.commands.steering.orders:stop",
        "End the running trials at their next epoch; start no new ones.",
    ),
    "cancel": ("hpo.cli.commands.steering.orders:cancel", "Cancel running or waiting trials now."),
    "retry": (
        "hpo.cli.commands.steering.orders:retry",
        "Enqueue failed trials again with the same parameters.",
    ),
    "enqueue": (
        "hpo.cli.commands.steering.orders:enqueue",
        "Enqueue a trial with given parameters.",
    ),
    "update": (
        "hpo.cli.commands.steering.update:update",
        "Raise or lower a study's budget, even while it runs.",
    ),
    "rename": ("hpo.cli.commands.steering.rename:rename", "Rename a study, even while it runs."),
    "delete": ("hpo.cli.commands.steering.delete:delete", "Delete a study and its files."),
    "dashboard": (
        "hpo.cli.commands.dashboard:dashboard",
        "Show the studies in a browser.",
    ),
    "init": ("hpo.cli.commands.setup.init:init", "Write a commented study file to start from."),
    "check": (
        "hpo.cli.commands.setup.check:check",
        "Validate a study, train one batch, and estimate the cost.",
    ),
    "doctor": (
        "hpo.cli.commands.setup.doctor:doctor",
        "Check the database and this machine, and say what to do.",
    ),
    "completion": (
        "hpo.cli.commands.setup.completion:completion",
        "Complete commands, options and studies in bash, zsh or fish.",
    ),
    "db": ("hpo.cli.commands.setup.db:db", "Upgrade or check a database, or copy its studies."),
}
"""Name -> (``module:command``, the line in the list of commands)."""


class Commands(Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the commands in the order in which users need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with quickly():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns the commands and options that begin with a text, without importing any."""
        found = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Runs a command and exits: the only place where errors become messages."""
        _never_fail_to_print()
        # `--debug` may stand anywhere, so that users can append it to the line that failed.
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        sys.exit(self._guarded(given, extra))

    def _guarded(self, args: list[str], extra: dict[str, Any]) -> int:
        is_debug = "--debug" in args
        if is_debug:
            sys.excepthook = lambda kind, error, where: explain_traceback(error)
        try:
            code = super().main(args, **extra)
        except HpoError as error:
            if is_debug:
                raise
            complain(error.message, error.hint, error.details)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except click.ClickException as error:
            complain(explain_usage(error), _misplaced(error, args) or _help_hint(error))
            return error.exit_code
        except (OSError, UnicodeError) as error:
            if is_debug:
                raise
            known = explain_input(error, args)
            complain(known.message, known.hint)
            return known.exit_code
        except Exception as error:
            if is_debug:
                raise
            message = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
            # The last resort: tracebacks are shown only with --debug.
            complain(f"{message}; run again with --debug for the traceback")
            return 1
        return code if isinstance(code, int) else 0


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="--storage or $HPO_STORAGE names the database; the default is sqlite:///hpo.db.",
)
@click.version_option(__version__, prog_name="hpo", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Log what happens; -vv logs more.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def hpo(ctx: click.Context, verbose: int, debug: bool) -> None:
    """Tune the hyperparameters of PyTorch models; one SQL database keeps every trial."""
    logging.basicConfig(level=logging.WARNING, handlers=[Logs()])
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.getLogger("hpo").setLevel(levels[min(verbose, 2)])
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Runs the command line of this process."""
    if not sys.warnoptions:
        # Warnings of libraries are for programmers; `python -W default -m hpo` shows them.
        warnings.simplefilter("ignore")
    try:
        hpo.main(prog_name="hpo")
    except SystemExit as end:
        _leave(end)


def _leave(end: SystemExit) -> NoReturn:
    """Ends the process without cleanup, which takes a second once PyTorch is loaded."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader closed the pipe; Python handles the error at exit.
        raise end from None
    os._exit(end.code if isinstance(end.code, int) else 1)


def _never_fail_to_print() -> None:
    # A stream that was closed (`hpo ls >&-`) is None.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for the whole process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _misplaced(error: click.ClickException, args: Sequence[str]) -> str | None:
    """Returns a message about an option that stands before the command that takes it."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    group = error.ctx.command
    if not isinstance(group, click.Group):
        return None
    for name in group.list_commands(error.ctx):
        command = group.get_command(error.ctx, name) if name in args else None
        for option in command.params if command is not None else ():
            if error.option_name in option.opts:
                value = f" {option.make_metavar(error.ctx)}" if _takes_value(option) else ""
                where = f"{error.ctx.command_path} {name} {error.option_name}{value}"
                return f"{error.option_name} goes after the command: {where}"
    return None


def _takes_value(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and not (option.is_flag or option.count)


def _help_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return None if context is None else f"{context.command_path} --help"
