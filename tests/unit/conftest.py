"""Fixtures that several modules use."""

from tests.unit.stack import stack as stack
