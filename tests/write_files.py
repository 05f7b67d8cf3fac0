"""Writes the table of docs/files.md from the matrix of kinds of files: ``python -m tests.write_files``."""

from __future__ import annotations

from pathlib import Path

from tests.support import matrix

PAGE = Path(__file__).parents[1] / "docs" / "files.md"

_BEGIN, _END = "<!-- kinds, by make files -->\n", "<!-- end of kinds -->\n"


def table() -> str:
    """The kinds of files and what becomes of them, in Markdown."""
    lines = ["| Container | Codec | kHz | Channels | Outcome |", "|---|---|---|---|---|"]
    for row in matrix.ROWS:
        rates = ", ".join(f"{rate / 1000:g}" for rate in sorted({rate for rate, _ in row.cells}))
        channels = ", ".join(str(count) for count in sorted({count for _, count in row.cells}))
        lines.append(f"| {row.container} | {row.codec} | {rates} | {channels} | {outcome(row)} |")
    return "\n".join(lines) + "\n"


def outcome(row: matrix.Row) -> str:
    """What becomes of a kind of file, in words."""
    if row.refused:
        return f"refused: `{row.refused}`"
    if row.error:
        return "every sample"
    length = f", up to {row.padding} samples longer" if row.padding else ""
    return f"the sound, its difference {row.snr:g} dB below{length}"


def written() -> str:
    """The page with the table of today."""
    before, rest = PAGE.read_text().split(_BEGIN)
    _, behind = rest.split(_END)
    return before + _BEGIN + table() + _END + behind


if __name__ == "__main__":
    PAGE.write_text(written())
