"""The blocks of code in README and docs, each with a name by which a test shows it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))
LANGUAGES = ("console", "python", "toml")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        name: ``PAGE#HEADING``, and ``/2`` for the second block below that heading, and so on.
        language: What stands behind the fence.
        text: What it holds.
    """

    name: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a console block: its lines behind ``$``, without the comments."""
        lines = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [re.sub(r"\s+#\s.*$", "", line) for line in lines]

    @property
    def shown(self) -> list[str]:
        """What a console block shows as printed, line by line, without the margin."""
        return [line.strip() for line in self.text.splitlines() if not line.startswith("$ ")]


def blocks_of(page: str) -> list[Block]:
    """Reads the blocks of a page, in order."""
    found: list[Block] = []
    seen: Counter[str] = Counter()
    heading, language, lines = "", None, list[str]()
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("```"):
            if language is not None:
                lines.append(line)
            elif line.startswith("#"):
                heading = line.lstrip("# ")
        elif language is None:
            language, lines = line[3:].strip(), []
        else:
            name = f"{page}#{heading}"
            seen[name] += 1
            number = f"/{seen[name]}" if seen[name] > 1 else ""
            found.append(Block(f"{name}{number}", language, "\n".join(lines) + "\n"))
            language = None
    return found


def all_blocks() -> dict[str, Block]:
    """Returns the blocks of all pages by name."""
    return {block.name: block for page in PAGES for block in blocks_of(page)}


def masked(line: str) -> str:
    """Returns a line without its numbers: what remains the same from run to run."""
    return re.sub(r"[-+]?\d[\d,.:]*(e-?\d+)?", "N", line)
