"""What goes with what: engines, models and priors, the engine by default, and why a badge is not earned.

Three tables, each looked up along the bases of a class. A model of one's own is one row more::

    CHOICES.append(ModelRow(Mine, default=lambda model: MeanField(), engines=DENSITY, unearned="NOT calibrated: ..."))

Without it, it has the row of its nearest base: a `RegressionNetwork` that of regressions, any other `Model` the last.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..models import (
    MODELS,
    PMFGRN,
    PPCA,
    CellBox,
    FactorBox,
    FactorModel,
    LinearNetwork,
    Model,
    MuVI,
    NetREXCF,
    Phoenix,
    RegressionNetwork,
    Symphony,
    TrajectoryNetwork,
)
from ..priors import (
    Collaborative,
    EdgePrior,
    ElasticNet,
    HardMask,
    Horseshoe,
    HorseshoeLoading,
    Laplace,
    LoadingPrior,
    LogitNormal,
    Normal,
    NormalLoading,
    SpikeSlab,
    SpikeSlabLoading,
)
from .amortised.guide import Amortised
from .engines.alternate import Alternate
from .engines.bagging import Bagging
from .engines.base import Engine
from .engines.block_descent import BlockDescent
from .engines.closed_form import ClosedForm
from .engines.gibbs import Gibbs
from .engines.nuts import NUTS
from .engines.pyro_guide import PyroGuide
from .engines.sparse_gibbs import SparseGibbs, refusal
from .lookup import along_bases
from .neural_ode.pruned import Pruned
from .runs.sampler import Sampler
from .variational.guides import Blocked, LowRank, MapEstimate, MeanField

DENSITY = (NUTS, MapEstimate, MeanField, LowRank)
"""Engines that need a density and its gradient, and nothing else of the model."""
NOT_A_POINT = (NUTS, MeanField, LowRank)
"""Of these, those for priors whose mode is degenerate where its scales are learned."""


class Terms(NamedTuple):
    """What a badge depends on beside the classes: the ``engine``, whether the data are ``complete`` (of programs:
    Gaussian, without missing values), the cells in a minibatch."""

    engine: Any
    complete: bool = True
    batch_size: int | None = None


Reason = str | Callable[[Terms], str | None] | None
"""Why a badge is not earned: always, on some terms, or never."""


class Length(NamedTuple):
    """How long a variational fit is: at most so many steps, from so many random starts; then draws of each."""

    num_steps: int = 3000
    restarts: int = 4
    num_draws: int = 500


USUAL_LENGTH = Length()


class Large(NamedTuple):
    """The ``length`` of fits by an ``engine`` of more than so many ``weights`` (edges, loadings)."""

    weights: int
    engine: type[Engine]
    length: Length


@dataclass(frozen=True)
class ModelRow:
    """What goes with a model, and with its subclasses that have no row of their own.

    Attributes
    ----------
    model
        Its class.
    default
        Made model → the most trustworthy engine that applies and is quick.
    engines
        Classes of engines that its likelihood allows.
    but
        Pairs of engine and prior that do not go together here, though each goes with the model.
    alone
        Whether its engines fit no other model, and no other engine fits it.
    prior
        Its prior by default; None: not known here.
    knowledge
        How prior networks enter where it is not through the prior.
    unearned
        Why engines that can be calibrated are not, on this model.
    length
        Steps, restarts and draws of a variational fit where nobody says how many.
    large
        Of what is so large that others are taken, and these.
    unlisted
        Why no list at a false discovery rate is made of it, though its probabilities are right on data from the model.
    """

    model: type  # of `Model`, which may be abstract
    default: Callable[[Any], Engine]
    engines: Sequence[type[Engine]]
    but: Sequence[tuple[type[Engine], type[EdgePrior]]] = ()
    alone: bool = False
    prior: type[EdgePrior] | None = None
    knowledge: str | None = None
    unearned: Reason = None
    length: Length = USUAL_LENGTH
    large: Large | None = None
    unlisted: str | None = None

    def forbids(self, engine: type[Engine], prior: type[EdgePrior]) -> bool:
        """Whether the two are among the pairs that do not go together."""
        return any(issubclass(engine, one) and issubclass(prior, other) for one, other in self.but)


@dataclass(frozen=True)
class PriorRow:
    """What goes with a prior, whatever the model: ``engines`` that apply; ``knowledge``, how prior networks enter (else
    its strategies say it); ``unearned`` as in `ModelRow`."""

    prior: type  # of `EdgePrior`, which may be abstract
    engines: Sequence[type[Engine]]
    knowledge: str | None = None
    unearned: Reason = None


@dataclass(frozen=True)
class EngineRow:
    """What is known of the calibration of an engine: ``networks`` on edges, ``programs`` on loadings and covariate
    effects (the same where None), ``doubt`` where it can be calibrated and as it is set is not. The figures are in
    experiments/results/."""

    engine: type[Any]
    networks: str
    programs: str | None = None
    doubt: str | None = None


# -- the rows ----
def _of_regressions(model: RegressionNetwork) -> Engine:
    """Exact where edges have an inclusion variable, in closed form where W is Gaussian given the rest."""
    if "inclusion" in model.dims and ("headroom" not in model.dims or model.edge_prior.family.independent_gates):
        return SparseGibbs() if refusal(model) is None else Gibbs()
    if model.edge_prior.conditionally_gaussian and len(model.coords["context"]) == 1:
        return Blocked()
    return MeanField()


def _of_courses(model: TrajectoryNetwork) -> Engine:
    """As of regressions; of many edges the exact sampler as long as R-hat and effective draws ask for it: chains are
    where they stay after 150 sweeps, and how many they need beyond depends on the data (docs/results/trajectory.md)."""
    engine = _of_regressions(model)
    if isinstance(engine, Gibbs) and len(model.tfs) * len(model.targets) > MANY_EDGES:
        return replace(engine, num_warmup=150, num_samples=150, longest=4)
    return engine


def _of_observed_edges(model: Symphony) -> Engine:
    if model.has_evidence and model.existence_site == "W":
        return MeanField()  # the evidence is not linear in W
    engine = _of_regressions(model)
    return MeanField() if row_of(type(model)).forbids(type(engine), type(model.edge_prior.family)) else engine


def _programs_unearned(terms: Terms) -> str | None:
    """Of programs, draws of `Blocked` walk on from its fit on complete data with all cells, else it is a product of
    factors; even so ranks of what programs explain are not uniform (docs/results/programs.md)."""
    if isinstance(terms.engine, Blocked):
        if terms.complete and terms.batch_size is None and terms.engine.refresh is None:
            return "NOT calibrated: intervals of loadings hold, of what programs explain of a gene a little too narrow"
        return "NOT calibrated: a product of factors, or untested, without complete Gaussian data and all cells"
    if isinstance(terms.engine, Gibbs) and not terms.complete:
        return "NOT calibrated: cell by cell exact in the long run, and untested at these lengths"
    return None


def _filter_unearned(terms: Terms) -> str | None:
    if isinstance(terms.engine, Sampler):
        return None
    return "NOT calibrated: features and their scale collapse in variational fits"


MANY_EDGES = 30_000  # of a course, from which sweeps take the most of a minute
CELLBOX_STEPS = 250  # in units of its scales; chosen on simulated drugs (docs/results/cellbox.md)
NOT_FOUND = "NOT calibrated: its probabilities were not found calibrated"
UNTESTED_PAIR = "NOT calibrated: the row of the model does not name this engine for this prior"
REGRESSION = ModelRow(RegressionNetwork, _of_regressions, (*DENSITY, Gibbs, Blocked), prior=SpikeSlab)
PROGRAMS = ModelRow(
    FactorModel,
    lambda model: Blocked(),
    (*DENSITY, Gibbs, Blocked),
    prior=NormalLoading,
    unearned=_programs_unearned,
    # one, two and four restarts of Blocked end at densities of other cells that agree to 0.1 nats of 500
    large=Large(30_000, Blocked, Length(restarts=2)),
)

CHOICES: list[ModelRow] = [
    REGRESSION,
    replace(REGRESSION, model=LinearNetwork, engines=(*REGRESSION.engines, SparseGibbs, Bagging, Amortised)),
    replace(
        REGRESSION,
        model=TrajectoryNetwork,  # its certain edges are 85% true
        default=_of_courses,
        unearned="NOT calibrated: products of regulators and noise in their levels are left out",
    ),
    replace(
        REGRESSION,
        model=FactorBox,  # in simulations
        engines=(*REGRESSION.engines, Alternate),
        unearned="NOT calibrated: gains are held and feedback left out; intervals of true edges cover too little",
    ),
    ModelRow(
        Symphony,
        _of_observed_edges,
        (*DENSITY, Gibbs),  # the evidence is not linear in W
        but=((Gibbs, Collaborative),),
        prior=SpikeSlab,
        unlisted="of cells that are not linear far more of its lists was wrong than they said, and no trial on made "
        "targets corrects it",
    ),
    ModelRow(
        CellBox,
        # narrow: most edges are of a thousandth to a hundredth, and from the usual width a fit has to unlearn them
        lambda model: MeanField(spread=0.001, init_scale=0.003),
        DENSITY,  # its steady states are not linear in W
        prior=Laplace,
        length=Length(CELLBOX_STEPS, 1, 200),  # each draw is solved twice; 500 predict no better
    ),
    # activities are not integrated out of these two, and the filter of the second is not Gaussian in W
    ModelRow(PMFGRN, lambda model: MeanField(), DENSITY, prior=LogitNormal, unearned=NOT_FOUND),
    ModelRow(
        NetREXCF,
        lambda model: BlockDescent() if applies(BlockDescent, type(model.edge_prior.family)) else MeanField(),
        (*DENSITY, BlockDescent),
        prior=ElasticNet,
        knowledge="collaborative filter",
        unearned="NOT calibrated: an energy whose weights are choices, no likelihood fitted to the noise",
    ),
    ModelRow(Phoenix, lambda model: Pruned(), (Pruned,), alone=True, prior=Normal, knowledge="pruning score, scale"),
    PROGRAMS,
    replace(PROGRAMS, model=PPCA, engines=(*PROGRAMS.engines, ClosedForm)),
    replace(PROGRAMS, model=MuVI, prior=HorseshoeLoading),
    ModelRow(
        Model,
        lambda model: MeanField(),
        DENSITY,
        unearned="NOT calibrated: nobody has tested this model on simulations",
    ),
]

OWN = tuple(CHOICES)

PRIORS: list[PriorRow] = [
    PriorRow(EdgePrior, DENSITY),
    PriorRow(Normal, (*DENSITY, Blocked, Bagging, Pruned, Alternate)),
    PriorRow(Horseshoe, (*DENSITY, Blocked)),
    PriorRow(HardMask, (*DENSITY, Blocked, Bagging)),  # with its default base
    PriorRow(ElasticNet, (*DENSITY, BlockDescent)),
    PriorRow(SpikeSlab, (*NOT_A_POINT, Gibbs, SparseGibbs, Amortised)),
    PriorRow(LogitNormal, (*DENSITY, Blocked), unearned=NOT_FOUND),
    PriorRow(
        Collaborative,  # in closed form only with the strategy "scale", which is not the default
        (*NOT_A_POINT, Gibbs),
        knowledge="collaborative filter, inclusion, scale",
        unearned=_filter_unearned,
    ),
    PriorRow(LoadingPrior, (*DENSITY, Gibbs, Blocked), knowledge="gene sets"),
    PriorRow(NormalLoading, (*DENSITY, Gibbs, Blocked, ClosedForm), knowledge="gene sets"),
    PriorRow(SpikeSlabLoading, (*NOT_A_POINT, Gibbs, Blocked), knowledge="gene sets"),
]

ENGINES: list[EngineRow] = [
    EngineRow(
        Gibbs,
        "exact posterior: calibrated on data from the model, for targets that are no regulators",
        programs="exact posterior, Gaussian complete data",
    ),
    EngineRow(
        SparseGibbs,
        "exact posterior, scales in units of the noise: calibrated on data from the model, standardised as users do, "
        "for targets that are no regulators",
    ),
    EngineRow(NUTS, "exact posterior, at most 30 genes: the reference"),
    EngineRow(
        Blocked,
        "exact for the weights given scales and noise: calibrated",
        programs="NOT calibrated: loadings and covariate effects of a gene jointly in closed form, and on Gaussian "
        "cells rounds of the exact conditionals from there; sizes of programs a little too narrow",
    ),
    EngineRow(
        MeanField,
        "NOT calibrated: too certain where regulators are correlated",
        programs="NOT calibrated: takes programs, loadings and covariate effects as independent",
    ),
    EngineRow(LowRank, "NOT calibrated: keeps only the strongest correlations"),
    EngineRow(MapEstimate, "NOT calibrated: a point, no uncertainty"),
    EngineRow(BlockDescent, "NOT calibrated: a point, no uncertainty"),
    EngineRow(Alternate, "NOT calibrated: a point, no uncertainty"),
    EngineRow(ClosedForm, "NOT calibrated: a point, no uncertainty"),
    EngineRow(
        Bagging,
        "NOT calibrated: bootstrap spread of a shrunken estimate; needs a fixed scale (`Normal(scale=0.316)`)",
    ),
    EngineRow(
        Pruned,
        "NOT calibrated: edges by pruning, which make the dynamics; weights that survive are taken as independent",
    ),
    EngineRow(
        Amortised,
        "calibrated on fresh simulations of its training family; elsewhere not known",
        doubt="NOT calibrated for edges from regulators: it is not told which genes regulate",
    ),
    EngineRow(PyroGuide, "NOT calibrated: a guide of Pyro or of one's own, which nobody has tested on simulations"),
    EngineRow(Engine, "NOT calibrated: nobody has tested this engine on simulations"),
]


# -- looking them up ----
def _nearest(kind: type, rows: dict[type, Any], root: type) -> Any:
    found = along_bases(rows, kind)
    return rows[root] if found is None else found


def row_of(model: type[Model]) -> ModelRow:
    """The row of a model, or of its nearest base that has one; of two rows for a class the later."""
    return _nearest(model, {row.model: row for row in CHOICES}, Model)


def row_of_prior(prior: type[EdgePrior]) -> PriorRow:
    """The row of a prior, or of its nearest base that has one."""
    return _nearest(prior, {row.prior: row for row in PRIORS}, EdgePrior)


def row_of_engine(engine: type[Engine]) -> EngineRow:
    """The row of an engine, or of its nearest base that has one."""
    return _nearest(engine, {row.engine: row for row in ENGINES}, Engine)


def engine_of(name: str) -> type[Engine]:
    """The class of an engine by the name that a posterior keeps; `Engine` itself where none has it."""
    return {row.engine.name: row.engine for row in ENGINES}.get(name, Engine)


def known_models() -> dict[str, type[Model]]:
    """Models by name: those of the package, then those whose rows were added to its own."""
    added: list[Any] = [row.model for row in CHOICES if row not in OWN]
    models: list[type[Model]] = [*MODELS, *added]
    return {model.name: model for model in models}


# -- what they say ----
def default_guide(model: Model) -> Engine:
    """The most trustworthy engine that applies and is quick: SparseGibbs for the spike-and-slab networks that it is
    for, in units of the noise, Gibbs for the others, Blocked where W is conditionally Gaussian, else MeanField; a model
    may have one of its own (`CHOICES`)."""
    engine: Any = row_of(type(model)).default(model)
    return engine


def default_length(model: Model, engine: Engine | None = None) -> Length:
    """Steps, restarts and draws of a variational fit of this model, where they are not given; ``engine`` default
    `default_guide`."""
    row, engine = row_of(type(model)), engine if engine is not None else default_guide(model)
    if row.large is None or not isinstance(engine, row.large.engine):
        return row.length
    weights = math.prod(len(model.coords[axis]) for axis in model.axes)
    return row.large.length if weights > row.large.weights else row.length


def engine_for(guide: Any) -> Engine:
    """What `fit` is given as ``guide``: an engine is itself, a class of engines one with its defaults, and whatever
    else can be called a guide of Pyro."""
    if isinstance(guide, Engine):
        return guide
    if isinstance(guide, type) and issubclass(guide, Engine):
        return guide()
    return PyroGuide(guide)


def applies(engine: type[Engine], prior: type[EdgePrior], model: type[Model] | None = None) -> bool:
    """Whether an engine fits a network with this edge prior (HardMask: with its default base), or programs with this
    loading prior; without a model: whether it goes with the prior."""
    if not issubclass(engine, tuple(row_of_prior(prior).engines)):
        return False
    row = None if model is None else row_of(model)
    return row is None or (issubclass(engine, tuple(row.engines)) and not row.forbids(engine, prior))


def check_pair(model: Model, engine: Engine) -> None:
    """Refuse an engine and a model of which one goes with nothing but its own.

    Raises
    ------
    ValueError
        Names both.
    """
    own = row_of(type(model))
    kept = tuple(kind for row in CHOICES if row.alone and row.model is not own.model for kind in row.engines)
    if isinstance(engine, kept) or (own.alone and not isinstance(engine, tuple(own.engines))):
        raise ValueError(f"{type(model).__name__} and {type(engine).__name__} do not go together: leave out the guide")


def unearned(
    model: type[Model],
    prior: type[EdgePrior],
    engine: Engine,
    *,
    complete: bool = True,
    batch_size: int | None = None,
) -> str | None:
    """Why probabilities of this fit are not to be called calibrated, in words; None where the badge is earned.

    Parameters
    ----------
    model, prior
        Classes; of a mask the prior beneath.
    engine
        Made, with its options.
    complete
        Of programs: whether the data are Gaussian, without missing values.
    batch_size
        Cells in a minibatch; None: all at once.
    """
    if not engine.calibrated:
        kind: Any = type(engine)
        return engine.why_not or row_of_engine(kind).doubt or about(kind, model)
    row = row_of(model)
    if row not in OWN and not applies(type(engine), prior, model):
        return UNTESTED_PAIR
    terms = Terms(engine, complete, batch_size)
    reasons = (row.unearned, row_of_prior(prior).unearned)
    said = (reason(terms) if callable(reason) else reason for reason in reasons)
    return next((reason for reason in said if reason is not None), None)


def why_uncalibrated(model: Model, engine: type[Engine]) -> str:
    """In a clause, why a fit of this model by engines of this class is not called calibrated."""
    row = row_of(type(model))
    said = (about(engine, type(model)), row.unearned, row_of_prior(type(model.edge_prior.family)).unearned)
    start = "NOT calibrated: "
    found = next((reason for reason in said if isinstance(reason, str) and reason.startswith(start)), None)
    return "not as it was set" if found is None else found.removeprefix(start)


def earns_badge(model: Model, engine: Engine, batch_size: int | None) -> bool:
    """Whether the probabilities of a fit are called calibrated."""
    kinds = type(model), type(model.edge_prior.family)
    return unearned(*kinds, engine, complete=model.integrated, batch_size=batch_size) is None


def about(engine: type[Engine], model: type[Model]) -> str:
    """What is known of the calibration of an engine on networks, or on programs."""
    row = row_of_engine(engine)
    return (row.programs if model.infers == "programs" else None) or row.networks
