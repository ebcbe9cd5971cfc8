"""Mappings: which partner field is which canonical field, and the engine that applies it. See `README.md` here."""

from mappings.engine import Mapping, all_mappings, compile_file, files, forget, known, load, tables
from mappings.grammar import MappingError

__all__ = ["Mapping", "MappingError", "all_mappings", "compile_file", "files", "forget", "known", "load", "tables"]
