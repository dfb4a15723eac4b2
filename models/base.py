"""`Model`: a generative story with named axes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..priors import AlignmentReport, EdgeKnowledge, EdgePrior
from ..priors.own_edges import ContextEdge
from .data.expression import ExpressionData
from .data.twins import Twins
from .gaussian_block import GaussianBlock
from .state import State


class Model(nn.Module, ABC):
    """A Pyro callable with ``coords`` and ``dims``; ``forward(batch)`` is the generative story and nothing else.

    ``forward(None)`` conditions on everything the model was made from (the whole data, or its sufficient statistics);
    ``forward(batch)`` on a minibatch of cells. Plates sit at fixed dimensions: ``context`` -3, ``cell`` and ``tf`` -2,
    ``target`` -1; restarts and draws come to the left of ``max_plate_nesting``. Constants are buffers, so
    ``model.to(...)`` moves the priors too.

    The data are the sample site ``X``, observed: cells one by one, or of the whole data their sufficient statistics
    under a distribution of `models.observation`, whose ``moments`` say what a value means. So
    ``Predictive(poutine.uncondition(model), num_samples=5)()["X"]`` draws statistics from the prior, and ``(batch)``
    in place of ``()`` cells; Pyro pads both to all plates of the model.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    story: ClassVar[str] = "a linear network"
    """What an edge is an effect in, for reports."""
    infers: ClassVar[str] = "network"
    """What comes out: a ``network`` of regulators and targets, or gene ``programs``."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of `ExpressionData` that it cannot do without."""
    takes: ClassVar[tuple[str, ...]] = ()
    """What it is made from that other models are not: ``evidence`` on edges, ``gene_sets``."""
    axes: ClassVar[tuple[str, str]] = ("tf", "target")
    """Dimensions of ``W``: regulators and targets of networks, factors and genes of programs."""
    weight_meaning: ClassVar[str] = (
        "by how many of its standard deviations the target changes when the regulator changes by one of its own, other "
        "regulators held fixed"
    )
    """What an entry of ``W`` is, for reports."""
    weight_unit: ClassVar[str] = "sd of target per sd of regulator"
    """The same in a few words, for the axes of figures."""
    rows: ClassVar[str] = "cells"
    """What rows of the data are, for reports: ``cells``, ``samples`` of a time course, ``conditions`` of a panel."""
    threshold: ClassVar[float] = 0.1
    """δ above which a weight counts as an edge, where the prior has no inclusion variable; in units of ``W``."""
    traceable: ClassVar[bool] = True
    """Whether the objective can be traced once and run again; not where a solver's steps depend on the values."""
    minibatches: ClassVar[bool] = True
    """Whether ``forward(batch)`` takes minibatches of cells; not where it conditions on all data at once."""
    plain_regression: ClassVar[bool] = False
    """Whether it is the regression of targets on regulators over cells, and nothing else is observed."""
    neural_ode: ClassVar[bool] = False
    """Whether the dynamics are a neural network, of whose weights the draws are."""
    own_sources: ClassVar[Mapping[str, str]] = {}
    """Sources of knowledge that the model makes itself, and what they are, for reports: nobody gave them."""
    expects: str = "log"
    """Scale of the data that it is made for, a word of `models.data.scale.EXPECTATIONS`."""
    genes: tuple[str, ...]
    knowledge: EdgeKnowledge
    edge_prior: EdgePrior
    integrated: bool = True
    """Whether what belongs to single cells is integrated out of the likelihood of the whole data."""
    evidence_notes: tuple[str, ...] = ()
    """What of the observed edges was not used, in words."""

    def narrowed(self, targets: Sequence[int]) -> "Model | None":
        """The same with some of its targets, by their places in order; ``None`` of models that have none apart."""
        return None

    @property
    def twins(self) -> tuple[Twins, ...]:
        """Regulators that the data can hardly tell apart; known of networks that are regressions."""
        return ()

    @property
    def given_sources(self) -> list[str]:
        """Sources of knowledge that somebody gave."""
        return [name for name in self.coords["source"] if name not in self.own_sources]

    @property
    def given_reports(self) -> dict[str, AlignmentReport]:
        """How the sources that somebody gave matched the names of the data."""
        return {name: report for name, report in self.knowledge.reports.items() if name not in self.own_sources}

    @property
    @abstractmethod
    def coords(self) -> Mapping[str, list[str]]:
        """Labels along each named dimension."""

    @property
    @abstractmethod
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Named dimensions of each site, without the plates of size one that pad it."""

    @property
    @abstractmethod
    def max_plate_nesting(self) -> int:
        """Number of plate dimensions the model uses."""

    def plate_of(self, site: str) -> dict[str, int]:
        """Plate dimension of each named dimension of a site; those that are not named are event dimensions."""
        return {"context": -3, "tf": -2, "target": -1}

    @abstractmethod
    def forward(self, batch: ExpressionData | None = None) -> None:
        """Sample every site, and the data given them."""

    def hyper(self, batch: ExpressionData | None = None) -> Any:
        """Sample the sites without parents, and what else it takes; without the data where those cost anything."""
        return self(batch)

    @property
    def hyper_without_edges(self) -> bool:
        """Whether `hyper` leaves out the sites that have a value for every edge."""
        return False

    def inclusion(self, values: Mapping[str, Tensor], *, threshold: float) -> Tensor:
        """``(*batch, tf, target)`` probability that each edge exists, given a draw of the other sites and the data; see
        `EdgePrior.inclusion`."""
        return self.edge_prior.inclusion(values, threshold=threshold)

    def context_edge(self, values: Mapping[str, Tensor], inclusion: Tensor) -> ContextEdge | None:
        """The edges of contexts given a draw of the sites and the shared ``inclusion`` ``(*batch, 1, tf, target)``;
        ``None`` where contexts have none of their own."""
        return None

    def conditional(self, site: str, values: Mapping[str, Tensor]) -> GaussianBlock:
        """The exact conditional distribution of ``site`` given all other sites, where the model is conjugate in it.

        Raises
        ------
        ValueError
            When it is not; the message says which priors are.
        """
        raise ValueError(
            f"{type(self).__name__} has no closed-form conditional for {site!r}: use the MeanField or LowRank guide"
        )

    @property
    def initial(self) -> Mapping[str, Tensor]:
        """Values by site, broadcastable to its plates, near which guides start; sites not named start at random small
        places. For `pyro.infer.autoguide.init_to_value` expand them: of a single number Pyro makes one parameter for
        all."""
        return {}

    @property
    def step_units(self) -> Mapping[str, Tensor]:
        """Sizes by site, broadcastable to its plates, in which guides take their steps; one for sites not named.

        A step of Adam has the size of its rate, whatever the gradient: for weights of a hundredth that is all of them.
        """
        return {}

    @abstractmethod
    def to_state(self) -> dict[str, list[str]]:
        """Names that, with the knowledge, the edge prior and the model's own buffers, rebuild it without the data."""

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Sequence[str]],
        *,
        knowledge: EdgeKnowledge,
        edge_prior: EdgePrior,
        buffers: Mapping[str, Tensor],
    ) -> Self:
        """The model of which ``state`` is `to_state`; ``edge_prior`` is not yet bound."""
        model = cls.__new__(cls)  # the constructors take data
        Model.__init__(model)
        for name, value in buffers.items():
            model.register_buffer(name, value)
        model._restore(State(state), knowledge, edge_prior)
        return model

    @abstractmethod
    def _restore(self, state: State, knowledge: EdgeKnowledge, edge_prior: EdgePrior) -> None:
        """All but the buffers, which are there already, from what `to_state` wrote."""

    @property
    def constant(self) -> Tensor:
        """Any floating buffer: its device and dtype are the model's."""
        return next(b for b in self.buffers() if torch.is_floating_point(b))
