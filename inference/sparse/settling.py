r"""Whether targets have settled: R-hat of each from running sums, and how many sweeps each is to have.

Of every target two numbers are followed through the blocks of sweeps, its log-likelihood and how many edges it has.
Most targets are the same in all chains within a few sweeps. Some have several regulators that are worth their place
together and none alone, and change between the two states once in hundreds of sweeps: they are swept more often.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..mixing import bulk_ess, rank_rhat

BATCH = 5  # blocks summed up together
FAR, FARTHER = 1.3, 1.6  # R-hat of whole chains from which a target is swept more often
MORE, MOST = 4, 12  # times
MOST_WORK = 0.25  # that extra sweeps may cost, as a share of the others
RHAT = 1.1  # beyond which a target has not settled
SHARE = 0.02  # of the targets that need not have
WHOLE_RHAT = 1.05  # of the log-likelihood and the hyperparameters
CHECKED_RHAT = 1.1  # of the hyperparameters, in the checks of a report
LEAST_ESS = 40.0  # effective draws of each hyperparameter
FEWEST = 50  # draws of a chain from which any of this can be told
OF_LIKELIHOOD, OF_TARGETS = "R-hat of log-likelihood", "of the targets have not settled"


@dataclass(eq=False)
class Traces:
    """Sums of what is followed: ``sums`` (batch, 2, function, chain, target), of values and their squares; ``counts``
    blocks in each batch."""

    sums: list[np.ndarray] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, likelihood: np.ndarray, edges: np.ndarray) -> None:
        """One block: both ``(chain, target)``."""
        values = np.stack([likelihood, edges]).astype(np.float64)
        if not self.counts or self.counts[-1] == BATCH:
            self.sums.append(np.zeros((2, *values.shape)))
            self.counts.append(0)
        if len(self.sums) == 1 and self.counts[0] == 0:
            self.centre = values[:, :1].mean(1, keepdims=True)  # squares of what is left keep their digits
        values -= self.centre
        self.sums[-1] += np.stack([values, values**2])
        self.counts[-1] += 1

    def rhat(self, *, split: bool = True) -> np.ndarray:
        """``(target,)`` the larger of both functions' R-hat, of half chains or whole ones; NaN with one batch, and of
        one chain that is whole."""
        half = len(self.sums) // 2
        if half == 0:
            return np.full(self.sums[0].shape[-1] if self.sums else 0, np.nan)
        parts = [slice(0, half), slice(len(self.sums) - half, None)] if split else [slice(0, None)]
        n = min(sum(self.counts[part]) for part in parts)
        means, variances = [], []
        for part in parts:
            count = sum(self.counts[part])
            first, second = np.sum(self.sums[part], axis=0) / count
            means.append(first)
            variances.append((second - first**2).clip(0) * count / max(count - 1, 1))
        halves = np.concatenate(means, axis=1)  # (function, half, target)
        if halves.shape[1] < 2:  # one chain, whole
            return np.full(halves.shape[-1], np.nan)
        between = halves.var(1, ddof=1)  # (function, target)
        within = np.concatenate(variances, axis=1).mean(1)
        floor = 1e-9 * (1 + between)  # an edge that is always there
        return np.sqrt((n - 1) / n + between / (within + floor)).max(0)

    # -- checkpoints ----
    def snapshot(self) -> dict:
        """State for a checkpoint."""
        found: dict = {"counts": list(self.counts), "sums": [torch.from_numpy(part.copy()) for part in self.sums]}
        return found | ({"centre": torch.from_numpy(self.centre)} if self.sums else {})

    @classmethod
    def restored(cls, state: dict) -> "Traces":
        """From `snapshot`."""
        found = cls([part.numpy().copy() for part in state["sums"]], list(state["counts"]))
        if "centre" in state:
            found.centre = state["centre"].numpy()
        return found


def effort_of(rhat: np.ndarray) -> np.ndarray:
    """``(target,)`` int64: how many times the sweeps of others each target has, the worst first, within `MOST_WORK`."""
    effort = np.ones(len(rhat), np.int64)
    left = math.floor(MOST_WORK * len(rhat))
    for target in np.argsort(-np.nan_to_num(rhat, nan=0.0), kind="stable"):
        times = MOST if rhat[target] > FARTHER else MORE if rhat[target] > FAR else 1
        if times == 1 or times - 1 > left:
            break
        effort[target] = times
        left -= times - 1
    return effort


def unsettled(rhat: np.ndarray) -> float:
    """Share of the targets that have not settled."""
    return float((rhat > RHAT).mean()) if len(rhat) else 0.0


def is_of_targets(text: str) -> bool:
    """Whether what `not_reached` says is of single targets, and not of what all share."""
    return text.startswith(OF_LIKELIHOOD) or text.endswith(OF_TARGETS)


def varied(hypers: Mapping[str, np.ndarray]) -> list[str]:
    """Names of those of which no chain ``(chain, draw)`` stays where it began: what is fixed has no R-hat."""
    return [name for name, value in hypers.items() if (value != value[:, :1]).any(1).all()]


def mixing_of(draws: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """R-hat and effective draws of each of these ``(chain, draw)``."""
    table = np.stack(draws, axis=-1).astype(np.float64)
    return rank_rhat(table), bulk_ess(table)


def slow(hypers: Mapping[str, np.ndarray]) -> list[str]:
    """Of hyperparameters alone, draws ``(chain, draw)`` of each: R-hat of the worst and the fewest effective draws,
    where they fail the checks of a report, in words; nothing of so few draws that this cannot be told."""
    names = varied(hypers)
    if not names or any(len(hypers[name]) < 2 or hypers[name].shape[1] < FEWEST for name in names):
        return []
    rhat, size = mixing_of([hypers[name] for name in names])
    found = []
    if not rhat.max() <= CHECKED_RHAT:
        found.append(f"R-hat of {names[int(rhat.argmax())]} {rhat.max():.2f}")
    if not size.min() >= LEAST_ESS:
        found.append(f"{size.min():.0f} effective draws of {names[int(size.argmin())]}")
    return found


def not_reached(hypers: Mapping[str, np.ndarray], likelihood: np.ndarray, traces: Traces) -> list[str]:
    """What keeps a run from being done, in words; nothing where it is, or where too few draws are there to tell.

    Parameters
    ----------
    hypers
        Draws ``(chain, draw)`` of each hyperparameter.
    likelihood
        ``(chain, draw)`` log-likelihood of each state.
    traces
        Of the targets, since the end of the warm-up.
    """
    if len(likelihood) < 2 or likelihood.shape[1] < FEWEST:
        return []
    found = []
    names = varied(hypers)
    rhat, size = mixing_of([likelihood, *(hypers[name] for name in names)])
    if not rhat.max() <= WHOLE_RHAT:
        worst = [OF_LIKELIHOOD, *(f"R-hat of {name}" for name in names)][int(rhat.argmax())]
        found.append(f"{worst} {rhat.max():.2f}")
    if len(names) and not size[1:].min() >= LEAST_ESS:
        found.append(f"{size[1:].min():.0f} effective draws of {names[int(size[1:].argmin())]}")
    share = unsettled(traces.rhat())
    if share > SHARE:
        found.append(f"{share:.0%} {OF_TARGETS}")
    return found
