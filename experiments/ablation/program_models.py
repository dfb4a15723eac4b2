"""Methods of gene programs in an ablation: how gene sets enter each, and the model of a run."""

from collections.abc import Callable, Mapping
from typing import Any

from ...models import PPCA, ExpressionData, Model, MuVI
from ...priors import HorseshoeLoading, LoadingPrior, NormalLoading, PriorNetwork, SpikeSlabLoading
from .base_grn import CELLORACLE
from .settings import UNSET, Settings

PROGRAMS: dict[str, type[Model]] = {MuVI.name: MuVI, PPCA.name: PPCA}
LOADING_STRATEGIES: dict[str, Callable[..., LoadingPrior]] = {
    "horseshoe": HorseshoeLoading,
    "normal": NormalLoading,
    "spike-slab": SpikeSlabLoading,
}
"""How gene sets enter muvi: through which prior on loadings. The first is its own."""
AFTERWARDS = "own"  # ppca: sets name its programs once they are fitted
NUM_FREE = 2  # programs beside those of the sets, as `MuVI`
MIN_OVERLAP = 5  # as `MuVI`
OF_SETS = ("num_factors", "min_overlap")  # settings of the model that say which programs there are


STRATEGIES: dict[str, tuple[str, ...]] = {MuVI.name: tuple(LOADING_STRATEGIES), PPCA.name: (AFTERWARDS,)}
"""Ways in which gene sets enter a method; the first is the default."""
NOTES: dict[str, str] = {
    PPCA.name: "method ppca: its prior takes no gene sets, they name its programs after the fit. Whichever sets are "
    "in, the fit and its predictions are the same, and what moves are names: it is what muvi is to be compared with",
    CELLORACLE: "method celloracle: without a source its base GRN is all pairs",
}
"""What is to be said of a method in which sources do not enter as in the others."""


def program_strategies(method: str) -> tuple[str, ...]:
    """Ways in which gene sets enter a method."""
    return STRATEGIES[method]


def method_notes(method: str) -> list[str]:
    """What is to be said of a method in which sources do not enter as in the others."""
    return [NOTES[method]] if method in NOTES else []


def program_model(
    method: str,
    strategy: str,
    data: ExpressionData,
    libraries: Mapping[str, PriorNetwork],
    num_sets: int,
    settings: Settings = UNSET,
) -> Model:
    """The model of one run. It has as many programs whichever libraries are in: those that have no set are free, so
    that a library left out takes knowledge away and no capacity.

    Parameters
    ----------
    method, strategy
        ``muvi`` with a loading prior, or ``ppca``, in which the sets do not enter.
    data
        Cells to fit.
    libraries
        Those that are in, from sets to genes.
    num_sets
        Sets of all libraries of the ablation.
    settings
        ``model.num_factors``: programs beside those of the sets; default 2.
    """
    free = int(settings.model.get("num_factors", NUM_FREE))
    options = {name: value for name, value in settings.model.items() if name not in OF_SETS}
    return BUILDERS[method](strategy, data, libraries, num_sets, free, options, settings.prior)


def _without_sets(
    strategy: str,
    data: ExpressionData,
    libraries: Mapping[str, PriorNetwork],
    num_sets: int,
    free: int,
    options: dict[str, Any],
    prior: Mapping[str, Any],
) -> Model:
    if prior:
        options["loading_prior"] = NormalLoading(**prior)
    return PPCA.from_data(data, num_factors=num_sets + free, **options)


def _with_sets(
    strategy: str,
    data: ExpressionData,
    libraries: Mapping[str, PriorNetwork],
    num_sets: int,
    free: int,
    options: dict[str, Any],
    prior: Mapping[str, Any],
) -> Model:
    inside = len(dict.fromkeys(name for network in libraries.values() for name in network.sources))
    sets: dict[str, Any] = {"gene_sets": libraries, "min_overlap": 1} if libraries else {}  # chosen before any damage
    loadings = LOADING_STRATEGIES[strategy](**prior)
    return MuVI.from_data(data, num_factors=num_sets - inside + free, loading_prior=loadings, **sets, **options)


BUILDERS = {MuVI.name: _with_sets, PPCA.name: _without_sets}
