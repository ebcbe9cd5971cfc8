"""The served gateway of the tests of the doors."""

from tests.api.conftest import house

__all__ = ["house"]
