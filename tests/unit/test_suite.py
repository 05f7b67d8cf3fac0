"""What holds of all tests: none needs the file of another, and none asserts how fast the machine is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns"}


def trees(pattern: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield the name and the syntax tree of every file below `tests` that a pattern names."""
    for path in sorted(TESTS.rglob(pattern)):
        yield str(path.relative_to(TESTS)), ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """Yield the names of the functions that a file calls, without their modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_no_file_imports_a_test_file() -> None:
    found = {
        (file, module)
        for file, tree in trees("*.py")
        for module in imported(tree)
        if module.rpartition(".")[2].startswith("test_")
    }
    assert found == set()


def test_no_test_file_reads_a_clock() -> None:
    """Waiting is done by `tests.support.waiting`; promises of speed are kept by the benchmarks."""
    assert {
        (file, name) for file, tree in trees("test_*.py") for name in called(tree) if name in CLOCKS
    } == set()
