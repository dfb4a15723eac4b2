"""Optimisers of Pyro, beside `Adam`, for guides that Pyro's own SVI fits."""

import copy
from typing import Any

import torch
from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler

from ..engines.base import Engine
from .adam import Adam


def check_optimizer(optimizer: Any, engine: Engine) -> None:
    """Refuse what is no optimiser, and one of Pyro for an engine that has its own loop.

    Raises
    ------
    ValueError
        Says what to pass.
    """
    if optimizer is None or isinstance(optimizer, Adam):
        return
    if not isinstance(optimizer, PyroOptim):
        raise ValueError(
            f"`optimizer` is {optimizer!r}: expected Adam(lr=...) of pyrogrn or, for guides of Pyro, an optimiser of "
            "pyro.optim"
        )
    if not engine.any_optimizer:
        raise ValueError(
            f"{described(optimizer)} of pyro.optim goes with guides that Pyro's SVI fits, {type(engine).__name__} has "
            "a loop of its own: pass Adam(lr=...) of pyrogrn, or the guide made for the model, as MeanField()(model)"
        )


def made(optimizer: Adam | PyroOptim) -> PyroOptim:
    """One that shares no state with another."""
    if isinstance(optimizer, Adam):
        return PyroOptim(torch.optim.Adam, {"lr": optimizer.lr, "betas": optimizer.betas})
    fresh = copy.copy(optimizer)  # of one that has been used, what it has learned stays with it
    fresh.optim_objs, fresh.grad_clip, fresh._state_waiting_to_be_consumed = {}, {}, {}
    return fresh


def begin_step(optim: PyroOptim, rule: Adam | PyroOptim, step: int, total: int) -> None:
    """Set the rate where it follows a rule; an optimiser of Pyro has its own."""
    if isinstance(rule, Adam):
        for one in optim.optim_objs.values():
            for group in one.param_groups:
                group["lr"] = rule.rate(step, total)


def end_step(optim: PyroOptim, loss: float) -> None:
    """A schedule of Pyro is told by hand that a step is over, and one that waits for a plateau the loss too."""
    if isinstance(optim, PyroLRScheduler):
        waits = optim.pt_scheduler_constructor is torch.optim.lr_scheduler.ReduceLROnPlateau
        optim.step(*([loss] if waits else []))


def rate_of(optim: PyroOptim, rule: Adam | PyroOptim, step: int, total: int) -> float:
    """The learning rate of a step; of an optimiser of Pyro that of now, the largest of its parameters."""
    if isinstance(rule, Adam):
        return rule.rate(step, total)
    found = [_rate(group) for one in optim.optim_objs.values() for group in _torch(one).param_groups]
    return max(found, default=float("nan"))


def _torch(one: Any) -> Any:
    return getattr(one, "optimizer", one)  # of a schedule, what it turns


def _rate(group: dict[str, Any]) -> float:
    return float(group["lr"]) if "lr" in group else float("nan")


def described(optimizer: Adam | PyroOptim) -> str:
    """The same for the same options, in any process."""
    if isinstance(optimizer, Adam):
        return repr(optimizer)
    kind = getattr(optimizer.pt_optim_constructor, "__name__", "optimiser")
    options = optimizer.pt_optim_args
    told = getattr(options, "__qualname__", "options by parameter") if callable(options) else repr(options)
    clip = optimizer.pt_clip_args
    schedule = ""
    if isinstance(optimizer, PyroLRScheduler):
        schedule = f", {optimizer.pt_scheduler_constructor.__name__}({optimizer.kwargs!r})"
    return f"{kind}({told}{schedule}{f', clip {clip!r}' if clip else ''})"
