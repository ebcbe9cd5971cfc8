"""All tables, one module per subject; importing this package registers them on `metadata`."""

from gateway.storage.tables import (
    access,
    basis,
    console,
    delivery,
    journal,
    keys,
    meter,
    record,
    rights,
    schedule,
    worklist,
)
from gateway.storage.tables._base import metadata

__all__ = [
    "access", "basis", "console", "delivery", "journal", "keys", "metadata", "meter", "record", "rights",
    "schedule", "worklist",
]  # fmt: skip
