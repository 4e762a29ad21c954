"""The command ``hpo completion``: completes commands, options and studies in a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final, NamedTuple

import click
import platformdirs
from click.shell_completion import get_completion_class

from hpo.cli.messages import say
from hpo.cli.options import Command, NearestChoice
from hpo.cli.output import write, writing

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_HPO_COMPLETE"
# Without it, zsh has no `compdef`.
_ZSH_HEAD: Final = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }\n"
_NOTE: Final = "# completion of hpo"


class _Place(NamedTuple):
    """Where a script is installed, and the file of the user that loads it, if that is needed."""

    script: Path
    loader: Path | None


@click.command(cls=Command)
@click.argument("shell", metavar="bash|zsh|fish", type=NearestChoice(SHELLS))
@click.option(
    "--install", is_flag=True, help="Install it for your user, for shells that start from now on."
)
def completion(shell: str, install: bool) -> None:
    """Print the script by which a shell completes commands, options and names of studies.

    With --install the script is written to a file of your user. For bash and zsh, a line that
    loads it is added to ~/.bashrc or ~/.zshrc, once.
    """
    script = _script(shell)
    if not install:
        write(script)
        return
    place = _place(shell)
    with writing(place.script):
        place.script.parent.mkdir(parents=True, exist_ok=True)
        place.script.write_text(script, encoding="utf-8")
    say(f"wrote {place.script}")
    if place.loader is not None and _load(place):
        say(f"added a line to {place.loader} that loads it")
    say(f"it works in each {shell} that starts from now on")


def _script(shell: str) -> str:
    hpo = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None
    made = found(hpo, {}, "hpo", _VARIABLE)
    # Not `source()`, which runs bash to learn its version.
    text = made.source_template % made.source_vars()
    return (_ZSH_HEAD if shell == "zsh" else "") + text.strip() + "\n"


def _place(shell: str) -> _Place:
    home = Path.home()
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return _Place(config / "fish" / "completions" / "hpo.fish", None)
    script = platformdirs.user_data_path("hpo", appauthor=False) / f"completion.{shell}"
    folder = Path(os.environ.get("ZDOTDIR") or home) if shell == "zsh" else home
    return _Place(script, folder / f".{shell}rc")


def _load(place: _Place) -> bool:
    """Adds the line that loads a script; returns False if it is there."""
    loader, script = place.loader, shlex.quote(str(place.script))
    assert loader is not None
    line = f"[ -f {script} ] && . {script}  {_NOTE}"
    with writing(loader):
        before = (
            loader.read_text(encoding="utf-8", errors="surrogateescape") if loader.exists() else ""
        )
        if line in before.splitlines():
            return False
        # An older line names another place.
        kept = [one for one in before.splitlines() if not one.endswith(_NOTE)]
        text = "\n".join([*kept, line]) + "\n"
        loader.write_text(text, encoding="utf-8", errors="surrogateescape")
    return True
