"""All tables, one module per subject; importing this package registers them on `metadata`."""

from gateway.storage.tables import access, basis, delivery, journal, record, rights
from gateway.storage.tables._base import metadata

__all__ = ["access", "basis", "delivery", "journal", "metadata", "record", "rights"]
