"""Experiments: readers, tasks, methods, scores, benchmark, report, command line."""

from .readers import read_expression, read_names
from .report import write_report
from .scores import score_edges

__all__ = ["read_expression", "read_names", "score_edges", "write_report"]
