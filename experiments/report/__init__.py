"""The report of a fit: one page, of networks or of programs."""

from .networks import COLUMNS, NetworkReport, Results, out_degrees, write_report
from .run import REPORTS, report

__all__ = ["COLUMNS", "REPORTS", "NetworkReport", "Results", "out_degrees", "report", "write_report"]
