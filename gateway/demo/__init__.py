"""The demonstration: one diagnosis through four bodies, on files in their real formats."""
