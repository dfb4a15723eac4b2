"""The pages of results: hand-written templates, filled with the figures of ``experiments/results/*.csv``.

``python -m pyrogrn.experiments.pages`` writes them; ``docs/adding.md`` says how a template reads.
"""

from .figure import Figure
from .grid import grid
from .rows import Rows
from .write import Checkout, stale, write

__all__ = ["Checkout", "Figure", "Rows", "grid", "stale", "write"]
