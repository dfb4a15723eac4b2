"""``pyrogrn.tl``: fits from an AnnData or a MuData, with the results written into it.

Each function reads the cells as `read_expression` does, makes the model of its method, fits it as ``pyrogrn infer``
does, and writes ``uns["pyrogrn"]`` (settings, tables, diagnostics) and what belongs to genes and cells.
"""

from .courses import courses
from .network import network
from .panel import panel
from .programs import programs

__all__ = ["courses", "network", "panel", "programs"]
