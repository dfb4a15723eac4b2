"""``pyrogrn.pl``: the pictures of reports, one function each.

Each takes a posterior, or the table that it is made from, draws into ``ax=`` or into a figure of its own, and returns
the `matplotlib.axes.Axes`; ``.figure.savefig("picture.pdf")`` writes it. Where pyplot is in use, as in a notebook, the
figure is shown like any other. Without ``ax`` the picture is that of the report.
"""

from .ablations import ablation
from .activities import activities
from .cells import umap_program
from .checks import reliability, trust
from .drawing import canvas
from .dynamics import course, flux, knockout
from .networks import edges, network, probabilities, regulators
from .programs import programs, variance

__all__ = [
    "ablation",
    "activities",
    "canvas",
    "course",
    "edges",
    "flux",
    "knockout",
    "network",
    "probabilities",
    "programs",
    "regulators",
    "reliability",
    "trust",
    "umap_program",
    "variance",
]
