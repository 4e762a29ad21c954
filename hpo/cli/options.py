"""Options that several commands share, and their conversion to the library's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hpo.cli.examples import examples_of
from hpo.errors import HpoError, SpecError, StoreError, did_you_mean, nearest
from hpo.run.host.machine import MAX_WORKERS

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv")


class Command(click.Command):
    """A command that also takes ``--debug``, so that users can append it to a line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `hpo.cli.main` reads it, because it sees the whole line.
        self.params.append(click.Option(["--debug"], is_flag=True, hidden=True, expose_value=False))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples of the command at the end of its help."""
        super().format_epilog(ctx, formatter)
        lines = examples_of(ctx.command_path)
        if lines:
            with formatter.section("Examples"):
                for line in lines:
                    # Not wrapped: a line can be copied.
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.

        Raises:
            StoreError: It failed, and its database has a row that cannot be read.
        """
        try:
            return super().invoke(ctx)
        except (HpoError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if "storage" in ctx.params:
                raise_if_unreadable(ctx.params["storage"], error)
            raise


def raise_if_unreadable(storage: str | None, cause: Exception | None = None) -> None:
    """Looks for an unreadable row that makes a command fail.

    Raises:
        StoreError: There is one.
    """
    from hpo.store.db.database import Database
    from hpo.store.rows import unreadable_rows

    try:
        db = Database.connect(storage)
    except HpoError:
        return
    found = unreadable_rows.first(db)
    db.dispose()
    if found:
        raise StoreError(f"{db.masked_url}: {found}") from cause


class Group(click.Group):
    """A group of commands that suggests the nearest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command.

        Raises:
            click.UsageError: No command has this name; the message suggests the nearest.
        """
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            match = nearest(args[0], names)
            advice = f" Did you mean {match}?" if match else ""
            raise click.UsageError(f"No such command {args[0]!r}.{advice}", ctx)
        return super().resolve_command(ctx, args)


class NearestChoice(click.Choice[str]):
    """A choice that suggests the nearest value for a wrong one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the choice; case is ignored."""
        for choice in self.choices:
            if choice.lower() == str(value).lower():
                return choice
        listed = ", ".join(self.choices)
        message = f"{value!r} is not one of {listed}{did_you_mean(str(value), self.choices)}"
        raise click.BadParameter(message, ctx, param)


class OutputFile(click.Path):
    """A file that a command writes; its ending is its format.

    Args:
        endings: The supported endings, without dots.
    """

    def __init__(self, endings: Sequence[str]) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Checks the path before the command does any work.

        Raises:
            SpecError: The ending is not a supported format, or the folder does not exist.
        """
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path)
        ending = path.suffix.removeprefix(".").lower()
        if ending not in self._endings:
            advice = did_you_mean(ending, self._endings) if ending else ""
            listed = ", ".join(self._endings)
            raise SpecError(f"{path}: the ending must be one of {listed}{advice}")
        if not path.parent.is_dir():
            raise SpecError(f"{path}: there is no folder {path.parent}")
        return path


def _require_text(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    # A script that passes `--storage "$DATABASE"` without setting the variable means
    # another database than the default one.
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty", param=param)
    return value


def storage_option(function: F) -> F:
    """Adds ``--storage``."""
    return click.option(
        "--storage",
        metavar="URL",
        callback=_require_text,
        help="Database: sqlite:///FILE, postgresql://..., mysql://...; by default $HPO_STORAGE, "
        "or else sqlite:///hpo.db.",
    )(function)


def complete_study(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Returns the names of studies that begin with a text, for the completion of a shell."""
    from hpo.report.study_queries import read_subjects
    from hpo.store.db.opening import open_database

    try:
        with open_database(ctx.params.get("storage")).read() as conn:
            names = [subject.name for subject in read_subjects(conn, with_specs=False)]
    except Exception:  # noqa: BLE001 - a shell that completes a word shows no errors
        return []
    # A shell would break a name with invisible characters, and run what it holds.
    return [CompletionItem(n) for n in names if n.startswith(incomplete) and n.isprintable()]


def complete_study_or_file(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Returns the names of studies, and lets the shell complete files."""
    names = complete_study(ctx, param, incomplete)
    return names or [CompletionItem(incomplete, type="file")]


def study_argument(function: F) -> F:
    """Adds the name of a study, which is optional if the database holds only one."""
    return click.argument("name", metavar="[STUDY]", required=False, shell_complete=complete_study)(
        function
    )


def set_option(function: F) -> F:
    """Adds ``--set KEY=VALUE``, which changes an entry of a study file for one command."""
    return click.option(
        "--set",
        "entries",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override any entry of the study file, such as space.depth.high=8; repeatable.",
    )(function)


def format_option(formats: Iterable[str] = FORMATS) -> Callable[[F], F]:
    """Adds ``-f table|json|csv``."""
    return click.option(
        "-f",
        "--format",
        "form",
        type=NearestChoice(tuple(formats)),
        default="table",
        show_default=True,
        help="Output format; json and csv have every digit and are for programs.",
    )


def machine_options(function: F) -> F:
    """Adds the options of this machine: workers, resources, device, artifacts, allowed code."""
    for option in (
        click.option(
            "--log",
            multiple=True,
            metavar="NAME[=TARGET]",
            help="Where to log curves and endings: tensorboard, mlflow=URI, wandb=PROJECT or "
            "webhook=URL; repeatable.",
        ),
        click.option(
            "--allow",
            multiple=True,
            metavar="REFERENCE",
            help="Task or objective that may run here even if you did not name it; repeatable.",
        ),
        click.option(
            "--artifacts",
            metavar="FOLDER",
            type=click.Path(file_okay=False),
            help="Folder for checkpoints and models; machines that share it can resume each "
            "other's trials.",
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:0,1 or mps.",
        ),
        click.option(
            "--memory",
            metavar="SIZE",
            help="Main memory that a trial needs here, such as 16GiB.",
        ),
        click.option(
            "--cpus",
            type=int,
            metavar="N",
            help="Cores that a trial uses here, each with a thread.",
        ),
        click.option(
            "--gpus",
            type=float,
            metavar="N",
            help="GPUs that a trial uses here: 0, a share such as 0.5, or a whole number.",
        ),
        click.option(
            "--workers",
            "-j",
            type=click.IntRange(min=1, max=MAX_WORKERS),
            metavar="N",
            help="Number of worker processes; by default one per GPU, or one per core, or as many "
            "as the resources of a trial allow.",
        ),
    ):
        function = option(function)
    return function
