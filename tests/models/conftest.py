"""Prints the parity table at the end."""

import pytest

from tests.models import parity


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After everything else, so that it is seen."""
    terminalreporter.write_line(parity.table())
