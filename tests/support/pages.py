"""The pages of documentation, and the blocks of commands in them.

A block is indented by four spaces. The comment before it says who runs it: ``<!-- run -->`` every test run,
``<!-- run: long -->`` `make test-docs`, and ``<!-- needs … -->`` nobody, for the reason that it gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from client.stack import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_COMMAND = re.compile(
    r"(?:[A-Z_]+=\S* *)*(?:$|(?:make|curl|music|aws|pip|python3?|docker|git|npm|sam|\.|\.venv/\S+)\s)"
)
_MARK = re.compile(r"<!-- (run|run: long|needs [^>]+) -->")


@dataclass(frozen=True)
class Block:
    """A block of commands.

    Attributes
    ----------
    page : Path
        Where it stands.
    line : int
        Its first line, from 1.
    mark : str
        ``run``, ``run: long`` or ``needs …``; empty where it has none.
    commands : list of str
        One each, continued lines joined.
    """

    page: Path
    line: int
    mark: str
    commands: list[str]


def blocks(page: Path) -> list[Block]:
    """List the blocks of a page that hold commands."""
    lines = page.read_text("utf-8").splitlines()
    found, start = [], 0
    while start < len(lines):
        if not _opens(lines, start):
            start += 1
            continue
        end = start
        while end < len(lines) and (lines[end].startswith("    ") or _bridges(lines, end)):
            end += 1
        text = "\n".join(line[4:] for line in lines[start:end]).replace("\\\n", " ")
        commands = [line for line in text.splitlines() if line.strip()]
        if _COMMAND.match(commands[0]):
            mark = _MARK.fullmatch(lines[start - 2]) if start >= 2 else None
            found.append(Block(page, start + 1, mark[1] if mark else "", commands))
        start = end
    return found


def _opens(lines: list[str], at: int) -> bool:
    return lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip())


def _bridges(lines: list[str], at: int) -> bool:
    """Whether an empty line lies within a block."""
    return not lines[at].strip() and at + 1 < len(lines) and lines[at + 1].startswith("    ")
