from tests.worklist.conftest import landes

__all__ = ["landes"]
