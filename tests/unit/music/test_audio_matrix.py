"""Every kind of file of docs/files.md, made here, and decoded to what was encoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from music.audio import isolated
from tests import write_files
from tests.support import matrix, reading


@pytest.mark.parametrize("row", matrix.ROWS, ids=[row.name for row in matrix.ROWS])
def test_a_file_sounds_as_it_was_encoded(
    row: matrix.Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "blocks", reading.blocks)
    faults = {cell: matrix.fault(row, tmp_path / "x", *cell) for cell in row.cells}
    assert {cell: fault for cell, fault in faults.items() if fault} == {}


def test_the_matrix_has_at_least_150_files() -> None:
    assert sum(len(row.cells) for row in matrix.ROWS) >= 150


def test_no_kind_is_there_twice() -> None:
    assert len({row.name for row in matrix.ROWS}) == len(matrix.ROWS)


def test_the_table_of_kinds_is_current() -> None:
    """`make files` writes it anew."""
    assert write_files.PAGE.read_text() == write_files.written()
