"""Fixtures that several modules use."""

from tests.support.stack import deployment as deployment
from tests.support.stack import stack as stack
