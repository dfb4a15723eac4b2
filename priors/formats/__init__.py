"""Formats of prior networks: one file each."""

from .registry import FORMATS, ONLY_EDGES, WEIGHT_LOSS, Format, detect, format_named, read_edge_table, write_edge_table

__all__ = [
    "FORMATS",
    "ONLY_EDGES",
    "WEIGHT_LOSS",
    "Format",
    "detect",
    "format_named",
    "read_edge_table",
    "write_edge_table",
]
