"""How many targets a regulator has."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from ...inference import Posterior
from ...inference.draws.edge_table import RAW
from ...inference.draws.intervals import LEVEL, thin_of
from ...inference.draws.layout import padded
from ...inference.draws.moments import aligned


def out_degrees(posterior: Posterior, *, level: float = LEVEL) -> pd.DataFrame:
    """Expected number of targets of each regulator, with its interval over draws: ``source, mean, lower, upper``.

    The mean is the sum of inclusion over targets; the interval is of the edges that exist (or exceed δ) in a draw. Of a
    recalibrated posterior, an edge of a draw stays with probability p'/p, or one that is not there comes with
    probability (p' − p)/(1 − p), so that edges exist as often as they are said to (p stated by the model, p'
    recalibrated).
    """
    raw = posterior.attributes.get(RAW)
    inclusion = posterior.moments["W"].inclusion
    if raw is None:
        number = np.concatenate([present.sum(-1) for present in _present(posterior)])
    else:
        rng = np.random.default_rng(1)
        stays = np.divide(inclusion, raw, out=np.ones_like(raw), where=raw > inclusion)
        comes = np.divide(inclusion - raw, 1 - raw, out=np.zeros_like(raw), where=inclusion > raw)
        number = np.concatenate(
            [
                np.stack([(rng.random(raw.shape) < np.where(one, stays, comes)).sum(-1) for one in present])
                for present in _present(posterior)
            ]
        )
    tail = (1 - level) / 2
    lower, upper = np.quantile(number, [tail, 1 - tail], axis=0)
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    mean = (inclusion * allowed).sum(1)
    return pd.DataFrame({"source": posterior.coords["tf"], "mean": mean, "lower": lower, "upper": upper})


def _present(posterior: Posterior) -> Iterator[np.ndarray]:
    """Whether edges exist (or exceed δ) in draws ``(draw, tf, target)``, in blocks."""
    draws = posterior.draws
    if posterior.threshold is not None:
        yield from (np.abs(chain) > posterior.threshold for chain in draws["W"])
    elif "inclusion" in draws:
        yield from (chain > 0 for chain in draws["inclusion"])
    else:
        yield from _enumerated(posterior)


def _enumerated(posterior: Posterior) -> Iterator[np.ndarray]:
    """Draws of inclusion given the other sites, where the fit summed it out."""
    model, rng = posterior.model, np.random.default_rng(0)
    draws = aligned(posterior.draws, thin_of(posterior))
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    number, *shape = flat["W"].shape
    block = max(1, 4_000_000 // int(np.prod(shape)))
    for start in range(0, number, block):
        rows = {name: torch.as_tensor(value[start : start + block]) for name, value in flat.items()}
        values = {name: padded(model, name, value.to(model.constant)) for name, value in rows.items()}
        with torch.no_grad():
            probability = posterior.model.edge_prior.inclusion(values, threshold=0.0).cpu().numpy().reshape(-1, *shape)
        yield rng.random(probability.shape) < probability
