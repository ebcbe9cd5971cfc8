"""All tables, one module per subject; importing this package registers them on `metadata`."""

from gateway.storage.tables import delivery, record
from gateway.storage.tables._base import metadata

__all__ = ["delivery", "metadata", "record"]
