r"""Several trainings at once: their weights lie in one stack, and a step of all is one solve."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import BlowUp, PhoenixParameters
from ...models.dynamics.phoenix_network import WEIGHTS, PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss, mismatch
from ..pruning import NoPruning, Sparsifier
from ..runs.interrupts import deferred_interrupts
from .training import Diverged, LearningRate, Trained, Training


@dataclass(frozen=True, eq=False)
class Job:
    """One training of a stack; its fields are the arguments of `train`.

    ``extra_points`` of the prior loss's points are taken in a step, the next ones in the next; ``None`` takes all.
    All 500 points in each of 130 steps an epoch cost as much as the data do.
    """

    network: PhoenixNetwork
    data: Transitions
    validation: Transitions
    sparsifier: Sparsifier | None = None
    extra_loss: PriorLoss | None = None
    extra_share: float = 0.05
    extra_points: int | None = None
    learning: LearningRate | None = None
    seed: int = 0


def train_many(
    jobs: Sequence[Job],
    *,
    num_epochs: int = 500,
    batch_size: int = 1,
    patience: int = 40,
    slack: float = 0.0,
    done: Callable[[int, Trained[PhoenixNetwork]], None] | None = None,
) -> list[Trained[PhoenixNetwork]]:
    """`train` of every job, a step of all of them in one solve; a job that ends leaves the stack.

    Each run has the weights, order of batches, pruning and learning rate it would have alone, up to rounding. A step of
    one trajectory is small matrices and the cost of calling on them, which a stack pays once for all
    (docs/results/phoenix_speed.md).

    Parameters
    ----------
    jobs
        Networks of one size and one fixed-step solver, data of as many trajectories at the same intervals.
    num_epochs, batch_size, patience, slack
        As `train`.
    done
        Called with the number of a job and its result as soon as it ends: whoever keeps that can go on later with the
        jobs that are left.

    Returns
    -------
    list of Trained
        In the order of the jobs. A run that blows up ends by itself, with its best model so far, and the others go on;
        in its first epoch, with the network it was given, an infinite validation error and a history of no epoch.

    Raises
    ------
    ValueError
        No job, networks of different sizes or of other than two layers, solvers whose steps adapt, some jobs with a
        prior loss and some without, and as `train`.
    Diverged
        Every run blows up in its first epoch.
    """
    _check(jobs)
    stack = _Stack(jobs, batch_size, patience, slack)
    results: dict[int, Trained[PhoenixNetwork]] = {}
    with deferred_interrupts() as raise_interrupt:
        while stack.runs:
            for number, reason in stack.one_epoch(num_epochs):
                results[number] = stack.take(number).result(reason)
                if done is not None:
                    done(number, results[number])
            raise_interrupt()
    if not any(result.history.best for result in results.values()):
        raise Diverged(results[0])
    return [results[number] for number in range(len(jobs))]


def _check(jobs: Sequence[Job]) -> None:
    if not jobs:
        raise ValueError("no job to train: give at least one")
    sizes = {job.network.depth for job in jobs}
    solvers = {repr(job.network.solver) for job in jobs}
    losses = {(job.extra_loss is None, job.extra_points) for job in jobs}
    if len(sizes) > 1 or len(solvers) > 1 or len(losses) > 1:
        raise ValueError(
            f"the jobs of a stack share one size, one solver and one use of the prior loss, not {len(sizes)}, "
            f"{len(solvers)} and {len(losses)}: train them in stacks of their own"
        )
    if math.isnan(getattr(jobs[0].network.solver, "longest_step", math.nan)):
        raise ValueError(
            f"{solvers.pop()} adapts its steps, to all runs at once: use RungeKutta, or `train` each alone"
        )
    if jobs[0].network.depth.layers != 2:
        raise ValueError(
            f"a stack has two layers on each path, not {jobs[0].network.depth.layers}: use `train`, each alone"
        )
    points = jobs[0].extra_points
    if points is not None and points < 1:
        raise ValueError(f"extra_points={points}: expected at least 1, or None for all")


class _Stack:
    """Runs that go on, and one tensor for each of their parameters and masks; the networks' own are rows of it."""

    def __init__(self, jobs: Sequence[Job], batch_size: int, patience: int, slack: float) -> None:
        self.jobs, self.step = list(jobs), 0
        self.runs = {
            number: Training(
                copy.deepcopy(job.network),
                job.data,
                job.validation,
                copy.deepcopy(job.sparsifier or NoPruning()),
                job.extra_loss,
                job.extra_share,
                job.learning or LearningRate(),
                batch_size,
                patience,
                slack,
                job.seed,
            )
            for number, job in enumerate(jobs)
        }
        self.patience, self.dt = patience, torch.zeros(0)
        self.optimizer = torch.optim.Adam(next(iter(self.runs.values())).network.parameters(), fused=True)
        self.values: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}
        self._gather()

    @torch.no_grad()
    def _gather(self) -> None:
        """Lay the parameters of all runs into one stack again, each network's as views of it."""
        networks = [run.network for run in self.runs.values()]
        for name in PhoenixParameters._fields:
            own = [getattr(network, name) for network in networks]
            stacked = torch.stack([p.detach() for p in own])
            for parameter, row in zip(own, stacked, strict=True):
                parameter.data = row
            self.values[name] = stacked.requires_grad_()
        for name in WEIGHTS:
            stacked = torch.stack([getattr(network, f"{name}_mask") for network in networks])
            for network, row in zip(networks, stacked, strict=True):
                setattr(network, f"{name}_mask", row)
            self.masks[name] = stacked
        self.own = [[getattr(network, name) for network in networks] for name in PhoenixParameters._fields]
        # one optimiser steps through the groups of all: half the cost of a step of each run's own
        self.optimizer.param_groups = [group for run in self.runs.values() for group in run.optimizer.param_groups]

    def take(self, number: int) -> Training:
        """A run that ends, out of the stack."""
        run = self.runs.pop(number)
        with torch.no_grad():
            for parameter in run.network.parameters():
                parameter.data = parameter.data.clone()
            for name in WEIGHTS:
                setattr(run.network, f"{name}_mask", getattr(run.network, f"{name}_mask").clone())
        if self.runs:
            self._gather()
        return run

    # -- one epoch of all ----
    def one_epoch(self, num_epochs: int) -> list[tuple[int, str]]:
        """Numbers of the runs that have ended, and why."""
        started, number = time.monotonic(), len(self.runs)
        for run in self.runs.values():
            run.open_epoch()
        with torch.no_grad():
            for name in WEIGHTS:
                self.values[name].mul_(self.masks[name])
        passes = [list(run.data.batches(run.batch_size, run.generator)) for run in self.runs.values()]
        if len({len(batches) for batches in passes}) > 1:
            raise ValueError("the data of the jobs have different numbers of trajectories: train them in other stacks")
        losses: dict[int, list[float]] = {n: [] for n in self.runs}
        blown: dict[int, BlowUp] = {}
        for batches in zip(*passes, strict=True):
            for n, value in zip(self.runs, self._step(list(batches), blown), strict=True):
                losses[n].append(value)
        ended = []
        for n, run in self.runs.items():
            try:
                if n in blown:
                    raise blown[n]
                run.close_epoch(losses[n], (time.monotonic() - started) / number)
            except BlowUp as error:
                reason = f"diverged at epoch {run.epoch + 1}, step {error.step} of the solver: {error}"
                run.restore(run.last)
                ended.append((n, reason))
                continue
            if run.waited >= self.patience or run.epoch >= num_epochs:
                ended.append((n, "converged" if run.waited >= self.patience else "budget"))
        return ended

    def _rows(self, batches: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """``(run, pair, gene)`` start, stop and observed; the intervals are those of all runs."""
        runs = list(self.runs.values())
        take = lambda name: torch.stack(
            [
                getattr(run.data, name) if at is None else getattr(run.data, name)[at]
                for run, at in zip(runs, batches, strict=True)
            ]
        )
        try:
            start, stop, observed, dt = (take(name) for name in ("start", "stop", "observed", "dt"))
        except RuntimeError as error:
            raise ValueError("the courses of the jobs have different lengths: train them one by one") from error
        if not bool((dt == dt[0]).all()):
            raise ValueError("the courses of the jobs have different intervals: train them one by one")
        if not torch.equal(self.dt, dt[0]):
            self.dt = dt[0].clone()  # the solver knows a plan by its tensor
        return start, stop, observed

    def _step(self, batches: Sequence[Tensor | None], blown: dict[int, BlowUp]) -> list[float]:
        start, stop, observed = self._rows(batches)
        solver: Any = self.jobs[0].network.solver
        try:
            parameters = self._parameters()
            predicted = solver(parameters, start, self.dt)
        except BlowUp:
            self._still(parameters, start, blown)
            parameters = self._parameters()
            predicted = solver(parameters, start, self.dt)
        errors = (predicted - stop).square() * observed
        fit = errors.sum((-2, -1)) / observed.sum((-2, -1)).clamp_min(1)
        total = self._with_prior_loss(fit, parameters).sum()
        for run in self.runs.values():
            penalty = run.sparsifier.penalty(run.network)
            if penalty is not None:
                total = total + penalty
        self.optimizer.zero_grad()
        for value in self.values.values():
            value.grad = None
        total.backward()
        self._learn()
        self.step += 1
        return [float(value) for value in fit.detach()]

    def _parameters(self) -> PhoenixParameters:
        gates = [run.sparsifier.gates(training=True) for run in self.runs.values()]
        values = dict(self.values)
        if any(g is not None for g in gates):
            for name in WEIGHTS:
                ones = torch.ones_like(self.masks[name][0, :1])
                each = [ones if g is None else g[name] for g in gates]
                if not any(gate.stride(0) for gate in each if len(gate) > 1):  # gates of inputs, seen as of weights
                    each = [gate[:1] for gate in each]
                values[name] = values[name] * torch.stack([gate.expand_as(each[0]) for gate in each])
        return PhoenixParameters(**values)

    def _with_prior_loss(self, fit: Tensor, parameters: PhoenixParameters) -> Tensor:
        losses = [job.extra_loss for job in (self.jobs[number] for number in self.runs)]
        present = [loss for loss in losses if loss is not None]
        if not present:
            return fit
        size = len(present[0].gamma)
        points = min(self.jobs[0].extra_points or size, size)
        at = points * (self.step % (size // points))
        gamma = torch.stack([loss.gamma[at : at + points] for loss in present])
        wanted = torch.stack([loss.wanted[at : at + points] for loss in present])
        extra = mismatch(parameters, gamma, wanted).mean((-2, -1))
        share = fit.new_tensor([self.jobs[number].extra_share for number in self.runs])
        return (1 - share) * fit + share * extra

    @torch.no_grad()
    def _still(self, parameters: PhoenixParameters, start: Tensor, blown: dict[int, BlowUp]) -> None:
        """Find the runs whose solution is not finite, and stop their genes for the rest of the epoch."""
        for k, number in enumerate(self.runs):
            try:
                solver: Any = self.jobs[number].network.solver
                solver(PhoenixParameters(*(value[k] for value in parameters)), start[k], self.dt)
            except BlowUp as error:
                blown.setdefault(number, error)
                for value in self.values.values():
                    value[k] = 0.0

    @torch.no_grad()
    def _learn(self) -> None:
        """Each run's parameters are given their rows of the gradients."""
        for value, own in zip(self.values.values(), self.own, strict=True):
            if value.grad is not None:
                for parameter, grad in zip(own, value.grad.unbind(), strict=True):
                    parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        self.optimizer.step()
        for name in WEIGHTS:
            self.values[name].mul_(self.masks[name])
