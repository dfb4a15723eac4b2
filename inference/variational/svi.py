r"""Stochastic variational inference, all restarts in one tensor program."""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, Model
from ..runs.history import History, random_state, set_random_state
from ..runs.run import Run
from ..runs.saving import restoring
from .adam import Adam
from .base import Guide
from .elbo import elbo

__all__ = ["Adam", "compiled_elbo", "run_svi"]


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


def run_svi(model: Model, data: ExpressionData | None, guide: Guide, run: Run) -> History:
    """Maximise the ELBO in place; the parameters of ``guide`` are the result. Restarts are independent: the objective
    is their sum."""
    started = time.monotonic()
    optimizer, num_steps = cast(Adam, run.optimizer), run.num_steps  # `check_optimizer` has refused others
    algorithm = optimizer.build(list(guide.parameters()))
    table = np.empty((guide.num_restarts, num_steps))  # ELBO by restart and step
    first = done = 0
    if run.resume is not None:
        with restoring():
            guide.load_state_dict(run.resume["guide"])
            algorithm.load_state_dict(run.resume["optimizer"])
            first = done = run.resume["step"]
            table[:, :first] = run.resume["elbo"].numpy().T
    batches = None if run.batch_size is None or data is None else forever(data, run.batch_size, first)
    compute = compiled_elbo(model, guide) if run.jit and model.traceable and batches is None else None
    if run.resume is not None:
        with restoring():
            set_random_state(run.resume["rng"])  # only now: tracing draws once
    reason = "budget"

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "svi",
            "step": done,
            "guide": guide.state_dict(),
            "optimizer": algorithm.state_dict(),
            "elbo": torch.tensor(table[:, :done].T),
            "rng": random_state(model.constant.device),
        }

    with run.steps(first, num_steps) as steps:
        for step in steps:
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
            guide.step(algorithm)
            algorithm.zero_grad(set_to_none=False)
            table[:, step] = value
            done = step + 1
            steps.tell(done, f"ELBO {value.max():.1f}", snapshot)
            if run.stop(table[:, :done]) and is_settled(step, num_steps):
                reason = "converged"
                break
    table = table[:, :done]
    records = np.arange(1, done + 1)
    keep = np.unique(np.linspace(0, max(len(records) - 1, 0), min(len(records), 2000)).astype(int))
    rates = np.array([optimizer.rate(int(s) - 1, num_steps) for s in records[keep]])
    return History(reason, table[:, keep], records[keep], rates, time.monotonic() - started)


def is_settled(step: int, num_steps: int) -> bool:
    """The cosine schedule must have come down: before that, noise of large steps can look like a plateau."""
    return step + 1 >= num_steps // 2


def forever(data: ExpressionData, batch_size: int, skip: int) -> Iterator[ExpressionData]:
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
