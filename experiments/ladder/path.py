"""The way from cells to edges that a user takes, as something to be tried on other cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...inference import Posterior, fit
from ...inference.engines.base import Engine
from ...inference.points import NO_RATE
from ...inference.recalibration import TrialOptions, tune
from ...inference.recalibration.trial import no_trial
from ...models import ExpressionData, Model
from ...priors import EdgePrior, PriorNetwork
from ..fitting import METHODS, default_engine, refuse_diverged

TRIED = ("linear", "grnular", "glad-tf", "glad")
"""Methods that go from expression to a network and need nothing else."""
PROGRAMS = "it infers gene programs, and programs have no list of edges that could be wrong"
REFUSED = {
    "ppca": PROGRAMS,
    "muvi": PROGRAMS,
    "celloracle": "it takes every edge of its base GRN for possible and states no probability that one exists",
    "netrex-cf": "it is a point estimate without probabilities",
    "pmf-grn": "its targets answer to hidden activities that the prior network defines, and targets made on measured "
    "regulators are not of that kind",
    "symphony": "it needs evidence on edges, and no evidence on made targets exists",
    "factorbox": "it needs a knock-down of every gene, and nobody has knocked down made targets",
    "cellbox": "it needs inputs on every node, and made targets have none",
    "trajectory": "it needs time courses, and made targets answer at once",
    "phoenix": "it needs time courses, and made targets answer at once",
}
"""Why other methods are not tried."""


def check_tried(method: str) -> None:
    """Refuse a method for which there are no worlds.

    Raises
    ------
    ValueError
        Unknown, or with the reason.
    """
    if method in TRIED:
        return
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(TRIED)}")
    reason = REFUSED.get(method, "nobody has made worlds for it")
    raise ValueError(f"method {method} cannot be tried on made targets: {reason}. Choose one of {', '.join(TRIED)}")


@dataclass(frozen=True)
class UserPath:
    """A method with its options, fitted as ``pyrogrn infer`` fits it.

    Parameters
    ----------
    method
        Of `TRIED`. Default ``linear``.
    edge_prior
        Default that of the model.
    model_options
        Of the model, by name.
    make_engine
        Model to engine. Default `default_engine`.
    restarts, steps
        Of variational fits.
    fit_options
        ``num_draws``, ``threshold``.
    device
        Where to fit.
    trial
        Of `linear`: the length of the trial on made targets by which ``infer`` corrects its probabilities; None: there
        is none, as with ``--no-calibrate``.
    """

    method: str = "linear"
    edge_prior: EdgePrior | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    make_engine: Callable[[Model], Engine] | None = None
    restarts: int | None = None
    steps: int | None = None
    fit_options: Mapping[str, Any] = field(default_factory=dict)
    device: str | torch.device = "cpu"
    trial: TrialOptions | None = field(default_factory=TrialOptions)

    def __post_init__(self) -> None:
        check_tried(self.method)

    def model(
        self, data: ExpressionData, networks: Mapping[str, PriorNetwork] | None = None, prior: EdgePrior | None = None
    ) -> Any:
        """The network of these cells; ``prior`` instead of its own."""
        kind = METHODS[self.method]
        chosen = self.edge_prior if prior is None else prior
        return kind.from_data(data, edge_prior=chosen, networks=networks or {}, **self.model_options).to(self.device)

    def engine(self, model: Model) -> Engine:
        """The engine of this model.

        Raises
        ------
        ValueError
            A point estimate: it has no probabilities to try.
        """
        engine = default_engine(self.method, model) if self.make_engine is None else self.make_engine(model)
        if engine.point:
            raise ValueError(NO_RATE)
        return engine

    def fit(
        self,
        model: Model,
        data: ExpressionData,
        networks: Mapping[str, PriorNetwork] | None = None,
        *,
        seed: int,
    ) -> Posterior:
        """The posterior of a model that was made from these cells and prior ``networks``, recalibrated where ``infer``
        does so."""
        engine = self.engine(model)
        cells = data.to(self.device) if engine.reads_cells else None
        length: dict[str, Any] = {"num_steps": self.steps, "restarts": self.restarts}
        posterior = refuse_diverged(fit(model, cells, guide=engine, seed=seed, **length, **self.fit_options))
        if self.trial is None or self.method != "linear" or no_trial(model, engine, data.num_cells) is not None:
            return posterior

        def make(cells: ExpressionData, networks: Mapping[str, PriorNetwork], targets: Sequence[str]) -> Any:
            own = {**self.model_options, "targets": targets}
            return METHODS[self.method].from_data(cells, edge_prior=self.edge_prior, networks=networks, **own)

        found = tune(data.to("cpu"), networks, make=make, options=self.trial, seed=seed)
        return found.apply(posterior, data.to("cpu"), networks, make=make)
