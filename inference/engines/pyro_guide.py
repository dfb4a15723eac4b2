"""Any guide of Pyro as an engine: automatic ones, and functions, fitted by Pyro's own SVI."""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI
from pyro.params.param_store import StateDict
from torch import Tensor

from ...models import ExpressionData, Model
from ..draws.moments import Collector
from ..runs.history import History, random_state, set_random_state
from ..runs.run import Run
from ..runs.saving import restoring
from ..variational.adam import Adam
from ..variational.draws import draw_guide
from ..variational.foreign import (
    Fitted,
    Restart,
    arguments,
    check_enumeration,
    check_sites,
    laplace,
    latent_nodes,
    made_for,
    objective_of,
    spread_of,
    trace_of,
    traced,
    words,
)
from ..variational.pyro_optim import begin_step, end_step, made, rate_of
from ..variational.svi import forever, is_settled
from .base import Engine


@dataclass(frozen=True, repr=False)
class PyroGuide(Engine):
    """A guide of one's own, fitted by `pyro.infer.SVI`; `fit` makes it of what it is given as ``guide``.

    Restarts go step by step beside each other, each with its own copy of the guide, seed, optimiser and parameter
    store; the caller's store and guide are left alone. Discrete sites that the guide does not sample are summed out.
    Not calibrated: a guide that nobody has tested. ``fit(optimizer=...)`` may be any of `pyro.optim`, schedules
    included (a step of the schedule is a step of SVI); default pyrogrn's `Adam`.

    Parameters
    ----------
    guide
        A class of `pyro.infer.autoguide` (``AutoNormal``; options by `functools.partial`), an instance made for the
        model, a Pyro module, or a function ``guide(batch=None)`` with `pyro.param` and a `pyro.sample` for each site of
        the model.

    Examples
    --------
    ::

        from pyro.infer.autoguide import AutoMultivariateNormal

        posterior = fit(model, guide=AutoMultivariateNormal)
    """

    guide: Any
    name = "pyro"
    calibrated = False
    any_optimizer = True

    def __post_init__(self) -> None:
        if not callable(self.guide):
            raise ValueError(
                f"`guide=` is {self.guide!r}: expected one of PyroGRN's guides and samplers, a pyro.infer.autoguide, "
                "or a function guide(batch=None)"
            )

    def __repr__(self) -> str:
        return f"PyroGuide({words(self.guide)})"

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        """Maximise the evidence lower bound by `pyro.infer.SVI`, then draw."""
        started = time.monotonic()
        training = _Training(model, data, run, self.guide)
        reason = training.go()
        if reason.startswith("diverged"):
            fitted = training.restarts
        else:
            fitted = [Restart(laplace(r, training.first), r.store) for r in training.restarts]
        torch.manual_seed(run.seed)  # also of a run that was resumed
        collector = draw_fitted(model, Fitted(model, fitted, training.first, training.latent), run)
        table = training.table[:, : training.done]
        steps = np.arange(1, training.done + 1)
        keep = np.unique(np.linspace(0, max(len(steps) - 1, 0), min(len(steps), 2000)).astype(int))
        rates = np.array(training.rates[: training.done])[keep]
        return collector, History(reason, table[:, keep], steps[keep], rates, time.monotonic() - started)


def draw_fitted(model: Model, fitted: Fitted, run: Run) -> Collector:
    """Draws, with a note where q is a point."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered NaN", UserWarning)  # of a guide that has diverged
        collector = draw_guide(model, fitted, run.num_draws, run.threshold)
    spread = [spread_of(traced(r, fitted.batch), fitted.latent) for r in fitted.restarts]
    if set(spread) == {"point"}:
        collector.notes["point"] = np.array(True)
    return collector


class _Training:
    """The restarts of one run, and how far they are."""

    def __init__(self, model: Model, data: ExpressionData | None, run: Run, source: Any) -> None:
        self.model, self.run = model, run
        self.first: ExpressionData | None = None
        if data is not None and run.batch_size is not None:
            self.first = next(data.minibatches(run.batch_size, torch.Generator().manual_seed(0)))
        self.latent = latent_nodes(model, self.first)
        self.restarts: list[Restart] = []
        self.svis: list[SVI] = []
        self.random: list[list[Tensor]] = []
        for restart in range(run.restarts):
            torch.manual_seed(run.seed * 1009 + restart)
            self._begin(source)
        self._check_apart()
        self.table, self.rates = np.empty((run.restarts, run.num_steps)), np.empty(run.num_steps)
        self.start = self.done = 0
        if run.resume is not None:
            with restoring():
                self._restore(run.resume)
        skip = self.start
        self.batches = None if self.first is None or data is None else forever(data, run.batch_size or 1, skip)

    def _begin(self, source: Any) -> None:
        """A guide at its start, with its parameters, after a first draw that is looked at."""
        store: StateDict = {"params": {}, "constraints": {}}
        with pyro.get_param_store().scope(store), pyro.validation_enabled(True):
            guide = made_for(source, self.model)
            trace = trace_of(guide, self.first)
            check_sites(self.model, guide, trace, self.latent)
            check_enumeration(self.model, trace, self.first)
        objective = objective_of(self.model, trace, self.latent)
        self.svis.append(SVI(self.model, guide, made(self.run.optimizer), objective))
        self.restarts.append(Restart(guide, store))
        self.random.append(random_state(self.model.constant.device))

    def _check_apart(self) -> None:
        """Refuse restarts that would train one and the same parameter."""
        places = [{p.data_ptr() for p in r.store["params"].values()} for r in self.restarts if r.store]
        if len(places) > 1 and places[0] & places[1]:
            raise ValueError(
                f"the guide {words(self.restarts[0].guide)} holds its parameters itself, so that restarts would share "
                "them: make it a Pyro module and pass that, or ask for one, `restarts=1`"
            )

    def go(self) -> str:
        """Every step of every restart; why it ended."""
        run = self.run
        with warnings.catch_warnings(), run.steps(self.start, run.num_steps) as steps:
            warnings.filterwarnings("ignore", "Encountered NaN", UserWarning)  # which the history says
            for step in steps:
                batch = None if self.batches is None else next(self.batches)
                for place in range(len(self.restarts)):
                    try:
                        self.table[place, step] = self._step(place, step, batch)
                    except RuntimeError as error:
                        if "linalg" not in str(error):
                            raise
                        return f"diverged at step {step + 1}: a matrix is singular (collinear regulators?)"
                bound = self.table[:, step]
                if not np.isfinite(bound).all():
                    return f"diverged at step {step + 1}: ELBO is {bound[~np.isfinite(bound)][0]}"
                self.done = step + 1
                steps.tell(self.done, f"ELBO {bound.max():.1f}", self._snapshot)
                if run.stop(self.table[:, : self.done]) and is_settled(step, run.num_steps):
                    return "converged"
        return "budget"

    def _step(self, place: int, step: int, batch: ExpressionData | None) -> float:
        restart, svi, rule = self.restarts[place], self.svis[place], self.run.optimizer
        begin_step(svi.optim, rule, step, self.run.num_steps)
        set_random_state(self.random[place])
        # the first draw was checked; after it, what is not finite shows in the bound
        with pyro.get_param_store().scope(restart.store), pyro.validation_enabled(False):
            loss = float(svi.step(*arguments(restart.guide, batch)))
        self.rates[step] = rate_of(svi.optim, rule, step, self.run.num_steps)
        end_step(svi.optim, loss)
        self.random[place] = random_state(self.model.constant.device)
        return -loss

    # -- checkpoints ----
    def _snapshot(self) -> dict[str, Any]:
        params = [{n: p.detach().clone() for n, p in r.store["params"].items()} for r in self.restarts if r.store]
        return {
            "fingerprint": self.run.fingerprint,
            "kind": "pyro-svi",
            "step": self.done,
            "params": params,
            "optimizer": [self._optimizer_state(place) for place in range(len(self.svis))],
            "elbo": torch.tensor(self.table[:, : self.done].T),
            "rates": self.rates[: self.done].tolist(),
            "rng": self.random,
        }

    def _optimizer_state(self, place: int) -> dict[str, Any]:
        with pyro.get_param_store().scope(self.restarts[place].store):  # which has the names of the parameters
            return self.svis[place].optim.get_state()

    def _restore(self, state: Any) -> None:
        self.start = self.done = state["step"]
        self.table[:, : self.start] = state["elbo"].numpy().T
        self.rates[: self.start] = state["rates"]
        self.random = [list(one) for one in state["rng"]]
        rule = self.run.optimizer
        for restart, svi, params, optimizers in zip(
            self.restarts, self.svis, state["params"], state["optimizer"], strict=True
        ):
            assert restart.store is not None, "a restart of a fit has a store of its own"
            with torch.no_grad():
                for name, value in params.items():
                    restart.store["params"][name].copy_(value)
            if isinstance(rule, Adam):
                for one in optimizers.values():
                    for group in one["param_groups"]:  # the state is read at the next step, with the rate of the last
                        group["lr"] = rule.rate(self.start, self.run.num_steps)
            svi.optim.set_state(optimizers)
