"""Hooks of the site: pages from outside docs/, and the generated reference.

README, CHANGELOG, CONTRIBUTING, the examples and the results of the benchmarks stand outside of
docs/, where they are read without the site. Links to them lead to copies of them in the site.
"""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

import hpo
from hpo.cli.main import COMMANDS
from hpo.cli.main import hpo as program
from hpo.spec import sections, study_spec

ROOT: Final = Path(__file__).parents[2]
OUTSIDE: Final = "repository"
_PATTERNS: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "examples/*.*",
    "studies/*.toml",
    "benchmarks/results/*.md",
)
_LINK: Final = re.compile(r"(\]\()([^)\s#]+)((?:#[^)]*)?\))")
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/, and the generated ones."""
    for path in _outside():
        name = f"{OUTSIDE}/{path.relative_to(ROOT)}"
        content = path.read_text() if path.suffix == ".md" else path.read_bytes()
        files.append(File.generated(config, name, content=content))
    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads the links that leave docs/, and those of pages from outside, to pages of the site."""
    here = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        start, link, end = found.groups()
        if "://" in link or link.startswith("mailto:"):
            return found[0]
        return f"{start}{posixpath.relpath(_in_site(here, link), here or '.')}{end}"

    parts, begin = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(led, markdown[begin : fence.start()]), fence[0]]
        begin = fence.end()
    return "".join([*parts, _LINK.sub(led, markdown[begin:])])


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Orders the pages as docs/README.md does: its groups are the sections."""
    pages = {page.file.src_uri: page for page in nav.pages}
    items: list[Any] = [pages.pop("README.md")]
    group: Section | None = None
    for line in (ROOT / "docs/README.md").read_text().splitlines():
        if heading := re.fullmatch(r"(\w[\w ]+):", line):
            group = Section(heading[1], [])
            items.append(group)
        elif group and (link := re.match(r"- \[([^]]+)\]\(([\w./-]+)", line)):
            page = pages.pop(link[2], None)
            if page is not None:
                page.title = link[1]
                group.children.append(page)
        if group and group.title == "Reference" and "reference/commands.md" in pages:
            group.children += [pages.pop(name) for name in sorted(generated())]
    parts: dict[str, list[Page]] = {"Decisions": [], "Results": [], "Repository": []}
    for name, page in sorted(pages.items()):
        kind = "Decisions" if name.startswith("decisions/") else "Repository"
        parts["Results" if "benchmarks/results" in name else kind].append(page)
    nav.items[:] = items + [Section(title, found) for title, found in parts.items() if found]
    return nav


def generated() -> dict[str, str]:
    """Returns the generated pages by their names."""
    return {
        "reference/api.md": "\n".join(_api()),
        "reference/commands.md": "\n".join(_commands()),
        "reference/keys.md": "\n".join(_keys()),
    }


def api() -> dict[str, str]:
    """Returns where each public name is defined."""
    found = {name: f"{module}.{name}" for name, module in hpo._DEFINED_IN.items()}
    found |= {f"data.{name}": f"hpo.data.{name}" for name in hpo.data.__all__}
    return found | {
        "run": "hpo.run.host.manager.run",
        "report": "hpo.loops.script_report.report",
        "lightning.Callback": "hpo.lightning.Callback",
        "transformers.Callback": "hpo.transformers.Callback",
    }


def _outside() -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(path for path in ROOT.glob(pattern) if path.is_file())


def _in_site(here: str, link: str) -> str:
    """Returns the page of the site for a link from a page in a folder of the site."""
    is_outside = here.split("/")[0] == OUTSIDE
    folder = here.removeprefix(OUTSIDE).lstrip("/") if is_outside else posixpath.join("docs", here)
    target = posixpath.normpath(posixpath.join(folder, link))
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{OUTSIDE}/{target}"


def _commands() -> Iterator[str]:
    yield "# Every command and its options\n\nGenerated from the program.\n"
    parent = click.Context(program, info_name="hpo")
    for name in COMMANDS:
        command = program.get_command(parent, name)
        assert command is not None
        yield from _command(command, name, parent, 2)


def _command(command: click.Command, name: str, parent: click.Context, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    yield f"{'#' * level} `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            assert inner is not None
            yield from _command(inner, child, context, level + 1)


def _keys() -> Iterator[str]:
    yield "# Every key of a study file\n\nGenerated from the classes that check a study."
    yield "[Study files](../study-files.md) shows how they are used.\n"
    yield from _table("Top level", study_spec.StudySpec)
    for name, field in study_spec.StudySpec.model_fields.items():
        section = next((c for c in _section_classes() if c.__name__ in str(field.annotation)), None)
        if section is not None:
            yield from _table(f"`[{name}]`", section)


def _section_classes() -> list[type[sections.Section]]:
    found = [c for _, c in inspect.getmembers(sections, inspect.isclass)]
    return [c for c in found if issubclass(c, sections.Section) and c.model_fields]


def _table(title: str, section: type[sections.Section]) -> Iterator[str]:
    said = _attributes(section)
    yield f"## {title}\n\n| key | default | meaning |\n| --- | --- | --- |"
    for name, field in section.model_fields.items():
        if name == "options":
            continue
        default = (
            "required"
            if field.is_required()
            else _shown(field.get_default(call_default_factory=True))
        )
        yield f"| `{name}` | {default} | {said.get(name, '').replace('|', chr(92) + '|')} |"
    if "options" in section.model_fields:
        yield "\nThe options of a method stand beside its `name`."
    yield ""


def _shown(default: Any) -> str:
    simple = isinstance(default, str | int | float | bool) and default != ""
    return f"`{default}`" if simple else ""


def _attributes(section: type[sections.Section]) -> dict[str, str]:
    """Returns what a docstring says of each attribute."""
    text = inspect.getdoc(section) or ""
    part = re.split(r"\n\n(?=\w+:\n)", text.partition("Attributes:\n")[2])[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", part, re.MULTILINE)
    return {name: " ".join(said.split()) for name, said in entries}


def _api() -> Iterator[str]:
    yield "# The Python interface\n\nGenerated from the docstrings.\n"
    for name, path in sorted(api().items(), key=lambda pair: pair[0].lower()):
        yield f"## `hpo.{name}`\n\n::: {path}\n"
