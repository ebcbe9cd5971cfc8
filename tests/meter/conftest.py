"""The meter counts what the bodies of the demonstration's territory exchange."""

from tests.journeys.conftest import landes

__all__ = ["landes"]
