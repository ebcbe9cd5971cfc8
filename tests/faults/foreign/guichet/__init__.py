"""A connector that the gateway does not ship: the simplest partner there is, announced by an entry point."""
