r"""Stochastic variational inference, all restarts in one tensor program."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import ExpressionData, Model
from .callbacks import Callback, FitState
from .elbo import elbo
from .guides import Guide
from .interrupts import deferred_interrupts
from .stopping import StoppingRule


@dataclass(frozen=True, eq=False)
class History:
    """How a fit went: ``reason`` it ended (converged, budget, diverged at step …), ``elbo`` (restart, record) at
    ``steps``, learning ``rate``, ``seconds``."""

    reason: str
    elbo: np.ndarray
    steps: np.ndarray
    rate: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Adam:
    """Adam with a cosine decay of the learning rate to ``final`` of its start over the budget of steps.

    Parameters
    ----------
    lr
        Starting rate. Default 0.03: unconstrained parameters are of order one, and a few hundred steps must reach them.
    final
        Share of ``lr`` at the end; small, so that the noise of the last steps averages out.
    betas
        As `torch.optim.Adam`; 0.95 / 0.999 suit one-sample ELBO gradients.
    """

    lr: float = 0.03
    final: float = 0.02
    betas: tuple[float, float] = (0.95, 0.999)

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 < self.final <= 1:
            raise ValueError(f"Adam(lr={self.lr}, final={self.final}): expected lr > 0 and 0 < final <= 1")

    def build(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, fused=True)

    def rate(self, step: int, total: int) -> float:
        """Learning rate at a step."""
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))


def compiled_elbo(model: Model, guide: Guide) -> Callable[[], Tensor]:
    """The full-batch objective as one traced graph: no Pyro, and no Python, in the loop.

    Traced once with `torch.jit.trace`, as Pyro's own ``JitTrace_ELBO`` does; random draws are made anew at every call.
    """
    parameters = list(guide.parameters())

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.guide = guide

        def forward(self, anchor: Tensor) -> Tensor:
            return elbo(model, self.guide, None, self.guide.num_restarts) + 0 * anchor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings about Python branches on shapes, which are constant here
        graph = torch.jit.trace(Traced(), (parameters[0].new_zeros(()),), check_trace=False)
    anchor = parameters[0].new_zeros(())
    return lambda: graph(anchor)


def run_svi(
    model: Model,
    data: ExpressionData | None,
    guide: Guide,
    *,
    optimizer: Adam,
    stop: StoppingRule,
    num_steps: int,
    batch_size: int | None,
    jit: bool,
    callbacks: Sequence[Callback],
    fingerprint: dict[str, Any],
    resume: dict[str, Any] | None,
) -> History:
    """Maximise the ELBO in place; the parameters of ``guide`` are the result. Restarts are independent: the objective
    is their sum."""
    started = time.monotonic()
    parameters = list(guide.parameters())
    algorithm = optimizer.build(parameters)
    table = np.empty((guide.num_restarts, num_steps))  # ELBO by restart and step
    first = done = 0
    if resume is not None:
        guide.load_state_dict(resume["guide"])
        algorithm.load_state_dict(resume["optimizer"])
        first = done = resume["step"]
        table[:, :first] = resume["elbo"].numpy().T
    batches = None if batch_size is None or data is None else _forever(data, batch_size, first)
    compute = compiled_elbo(model, guide) if jit and batches is None else None
    if resume is not None:
        set_random_state(resume["rng"])  # only now: tracing draws once
    reason = "budget"

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "kind": "svi",
            "step": done,
            "guide": guide.state_dict(),
            "optimizer": algorithm.state_dict(),
            "elbo": torch.tensor(table[:, :done].T),
            "rng": random_state(model.constant.device),
        }

    with deferred_interrupts() as check_interrupt:
        for step in range(first, num_steps):
            for group in algorithm.param_groups:
                group["lr"] = optimizer.rate(step, num_steps)
            try:
                if compute is not None:
                    bound = compute()
                else:
                    batch = None if batches is None else next(batches)
                    bound = elbo(model, guide, batch, guide.num_restarts)
            except RuntimeError as error:
                if "linalg" not in str(error):
                    raise
                reason = f"diverged at step {step + 1}: a precision matrix is singular (collinear regulators?)"
                break
            (-bound.sum()).backward()
            value = bound.detach().cpu().numpy().astype(np.float64)
            if not np.isfinite(value).all():
                reason = f"diverged at step {step + 1}: ELBO is {value[~np.isfinite(value)][0]}"
                break
            algorithm.step()
            algorithm.zero_grad(set_to_none=False)
            table[:, step] = value
            done = step + 1
            state = FitState(step + 1, num_steps, f"ELBO {value.max():.1f}", snapshot)
            for callback in callbacks:
                callback(state)
            check_interrupt()
            if stop(table[:, :done]) and _is_settled(step, num_steps):
                reason = "converged"
                break
    table = table[:, :done]
    steps = np.arange(1, done + 1)
    keep = np.unique(np.linspace(0, max(len(steps) - 1, 0), min(len(steps), 2000)).astype(int))
    rates = np.array([optimizer.rate(int(s) - 1, num_steps) for s in steps[keep]])
    return History(reason, table[:, keep], steps[keep], rates, time.monotonic() - started)


def random_state(device: torch.device) -> list[Tensor]:
    """State of the CPU generator, and of the device's where the fit draws there."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(states: list[Tensor]) -> None:
    """Continue from `random_state`."""
    torch.set_rng_state(states[0].cpu())
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1].cpu())


def _is_settled(step: int, num_steps: int) -> bool:
    """The cosine schedule must have come down: before that, noise of large steps can look like a plateau."""
    return step + 1 >= num_steps // 2


def _forever(data: ExpressionData, batch_size: int, skip: int):
    """Minibatches without end, each pass in a new order; ``skip`` batches were used by the run that is resumed."""
    count = 0
    epoch = 0
    while True:
        generator = torch.Generator().manual_seed(epoch)
        for batch in data.minibatches(batch_size, generator):
            if count >= skip:
                yield batch
            count += 1
        epoch += 1
