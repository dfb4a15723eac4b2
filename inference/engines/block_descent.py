r"""The maximum of NetREX-CF's objective, one exact block at a time."""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, Model
from ...models.netrex_cf import NetREXCF
from ...priors.elastic_net import ElasticNet
from ..draws.moments import Collector
from ..lookup import along_bases
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..runs.saving import restoring

# an edge that the filter pays for and expression has no use for: the infimum is at a weight that is all but zero
TINY = 1e-6


class Blocks(NamedTuple):
    """``W`` (restart, tf, target), ``A`` (restart, tf, component), ``U`` (restart, tf, rank), ``V`` (restart, target,
    rank)."""

    W: Tensor
    A: Tensor
    U: Tensor
    V: Tensor


@dataclass(frozen=True)
class BlockDescent(Sampler):
    r"""The MAP of `NetREXCF` with an `ElasticNet` prior (also inside `HardMask`): no uncertainty, by construction.

    Each block is minimised exactly given the others, so the objective never rises: A, U and V are ridge regressions;
    W goes regulator by regulator, all targets at once, each weight to the minimum of its own cubic (elastic net plus
    filter). Restarts differ in their starting activities and are one tensor program; the best is the estimate, one
    draw, and ``attributes["restart_objective"]`` has what each reached.

    Parameters
    ----------
    restarts
        Starts: the regulators' own expression, the others with noise added. Default 4.
    max_iterations
        Rounds over all blocks. Default 500.
    tol
        Stop when no restart falls by more than this share of its objective in a round. Default 1e-6.
    spread
        Sd of the noise relative to an activity. Default 0.5.
    """

    restarts: int = 4
    max_iterations: int = 500
    tol: float = 1e-6
    spread: float = 0.5
    name = "block-descent"
    calibrated = False
    point = True
    draws_chains = False  # the best restart, alone
    length_options = ("restarts", "max_iterations")

    def __post_init__(self) -> None:
        if min(self.restarts, self.max_iterations) < 1 or self.tol <= 0 or self.spread < 0:
            raise ValueError(f"{self}: expected at least one restart and iteration, tol > 0 and spread >= 0")

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        started = time.monotonic()
        descent = descent_of(model)
        generator = torch.Generator(device=model.constant.device).manual_seed(run.seed)
        blocks, record, first = descent.start(self.restarts, self.spread, generator), [], 0
        if run.resume is not None:
            with restoring():
                blocks = Blocks(*(run.resume[name].to(descent.X) for name in Blocks._fields))
                record, first = list(run.resume["elbo"].numpy()), run.resume["step"]
        reason = "budget"

        def snapshot() -> dict[str, Any]:
            state = {"fingerprint": run.fingerprint, "kind": "block-descent", "step": len(record)}
            return state | blocks._asdict() | {"elbo": torch.tensor(np.stack(record))}

        with run.steps(first, self.max_iterations) as steps:
            for step in steps:
                blocks = descent.round(blocks)
                record.append(-descent.objective(blocks).cpu().numpy())
                steps.tell(step + 1, f"objective {-record[-1].max():.4f}", snapshot)
                if not np.isfinite(record[-1]).all():
                    reason = f"diverged at step {step + 1}: the objective is not finite"
                    break
                if len(record) > 1 and bool((record[-1] - record[-2] <= self.tol * np.abs(record[-1])).all()):
                    reason = "converged"
                    break
        table = np.stack(record, axis=1)
        best = int(np.argmax(table[:, -1]))
        collector = Collector(model, 1, 1, has_inclusion=False)
        like = model.constant
        sites = {name: value[best : best + 1].to(like) for name, value in descent.turned(blocks)._asdict().items()}
        collector.add(sites, ((sites["W"].abs() > run.threshold) & model.edge_prior.allowed).to(like))
        collector.notes["restart_objective"] = -table[:, -1]
        return collector, History.every_step(reason, table, time.monotonic() - started)


class Descent:
    """The blocks of one model's objective, in float64."""

    def __init__(self, model: NetREXCF) -> None:
        prior: Any = model.edge_prior.family
        self.model = model
        self.X = model.X.double()
        self.tf_start, self.allowed = model.start.double(), model.edge_prior.allowed.double()
        self.B, self.C = model.listed.double(), model.weight.double()
        names = ("activity_penalty", "listed_cost", "unlisted_cost", "latent_penalty")
        self.kappa, self.alpha1, self.alpha2, self.rho = (float(getattr(model, name)) for name in names)
        self.ridge, self.lasso = float(prior.ridge), float(prior.lasso)
        self.gated = model.presence == "indicator"

    def start(self, restarts: int, spread: float, generator: torch.Generator) -> Blocks:
        """No edges, activities at the regulators' own expression, the filter fitted to the sources."""
        draw = lambda *shape: torch.randn(shape, generator=generator, device=self.X.device, dtype=self.X.dtype)
        num_tfs, components = self.tf_start.shape
        noise = spread * draw(restarts, num_tfs, components) / components**0.5
        noise[0] = 0
        rank = int(self.model.rank)
        W = self.X.new_zeros(restarts, num_tfs, len(self.X))
        V = 0.3 + 0.1 * draw(restarts, len(self.X), rank)
        blocks = Blocks(W, self.tf_start + noise, self.X.new_zeros(restarts, num_tfs, rank), V)
        for _ in range(5):
            blocks = self.filter(blocks)
        return blocks

    def round(self, blocks: Blocks) -> Blocks:
        """Every block once."""
        return self.filter(self.activities(self.weights(blocks)))

    def weights(self, blocks: Blocks) -> Blocks:
        """W given the rest, regulator by regulator."""
        W, A = blocks.W.clone(), blocks.A
        gram = A @ A.transpose(1, 2)  # (restart, tf, tf)
        cross = A @ self.X.T  # (restart, tf, target)
        m, free = blocks.U @ blocks.V.transpose(1, 2), 1 - self.B
        jump, slope, bend, cubic = 4 * (torch.zeros_like(m),)
        if self.gated:
            jump = self.B * self.alpha1 * self.C * (1 - m).square()
            jump = jump + free * ((1 + self.alpha2) * (1 - m).square() - m.square())
        else:
            slope = self.B * self.alpha1 * self.C * (1 - m).square() + free * (self.alpha2 * m.square() - 2 * m)
            bend, cubic = (2 - 4 * self.alpha2 * m) * free, 3 * self.alpha2 * free
        for t in range(W.shape[1]):
            own = gram[:, t, t, None]  # (restart, 1)
            score = cross[:, t] - (gram[:, t, None] @ W)[:, 0] + own * W[:, t]  # (restart, target)
            # derivative in the size of the weight: a s² + b s + c; its larger root is the only minimum besides 0
            a, b = cubic[..., t, :], 2 * (own + self.ridge) + bend[:, t]
            c = self.lasso - 2 * score.abs() + slope[:, t]
            root = (b.square() - 4 * a * c).clamp_min(0).sqrt()
            size = torch.where(b >= 0, -2 * c / (b + root).clamp_min(1e-300), (root - b) / (2 * a).clamp_min(1e-300))
            size = size.clamp_min(0)
            size = torch.where((size == 0) & (jump[:, t] < 0), TINY, size)
            gain = a / 3 * size**3 + 0.5 * b * size.square() + c * size + jump[:, t]
            size = torch.where(gain < 0, size, 0.0) * self.allowed[t]
            W[:, t] = torch.where(score >= 0, size, -size)
        return blocks._replace(W=W)

    def activities(self, blocks: Blocks) -> Blocks:
        """A given W."""
        W = blocks.W
        system = W @ W.transpose(1, 2) + self.kappa * torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
        return blocks._replace(A=torch.linalg.solve(system, W @ self.X))

    def filter(self, blocks: Blocks) -> Blocks:
        """U given V and W, then V given U and W."""
        size = self.model.present(blocks.W)
        omega = self.alpha1 * self.C * size * self.B + self.alpha2 * size * (1 - self.B) + self.C
        omega = omega * self.allowed
        goal = omega * (size + (1 - size) * self.B)
        U = self._latent(omega, goal, blocks.V)
        return blocks._replace(U=U, V=self._latent(omega.transpose(1, 2), goal.transpose(1, 2), U))

    def _latent(self, omega: Tensor, goal: Tensor, other: Tensor) -> Tensor:
        """``(restart, row, rank)`` ridge regressions of each row of ``goal / omega`` on ``other``, weighted by
        omega."""
        rank = other.shape[-1]
        square = (other[..., :, None] * other[..., None, :]).flatten(2)  # (restart, column, rank²)
        system = (omega @ square).unflatten(-1, (rank, rank))
        system = system + self.rho * torch.eye(rank, dtype=other.dtype, device=other.device)
        return torch.linalg.solve(system, (goal @ other)[..., None])[..., 0]

    def objective(self, blocks: Blocks) -> Tensor:
        """``(restart,)`` the objective without constants."""
        W, A, U, V = blocks
        error = self.X - W.transpose(1, 2) @ A
        size, m = self.model.present(W), U @ V.transpose(1, 2)
        omega = self.alpha1 * self.C * size * self.B + self.alpha2 * size * (1 - self.B) + self.C
        miss = size + (1 - size) * self.B - m
        total = lambda v: v.flatten(1).sum(1)
        return (
            total(error.square())
            + self.kappa * total(A.square())
            + self.ridge * total(W.square())
            + self.lasso * total(W.abs())
            + total(omega * miss.square() * self.allowed)
            + self.rho * (total(U.square()) + total(V.square()))
        )

    def turned(self, blocks: Blocks) -> Blocks:
        """Activities with the sign of the regulator's own expression; the objective does not change."""
        sign = (blocks.A * self.tf_start).sum(-1, keepdim=True)
        sign = torch.where(sign < 0, -1.0, 1.0).to(blocks.A)
        return blocks._replace(W=blocks.W * sign, A=blocks.A * sign)


DESCENTS: dict[type, dict[type, type[Descent]]] = {NetREXCF: {ElasticNet: Descent}}
"""Objectives of which every block is minimised exactly, by class of model, then by family of its edge prior."""


def descent_of(model: Any) -> Descent:
    """The blocks of a model's objective.

    Raises
    ------
    ValueError
        A model or an edge prior without exact blocks.
    """
    priors = along_bases(DESCENTS, type(model))
    if priors is None:
        raise ValueError(f"BlockDescent is for NetREXCF, not for {type(model).__name__}: use MapEstimate")
    prior = type(model.edge_prior.family)
    descent = along_bases(priors, prior)
    if descent is None:
        raise ValueError(
            f"BlockDescent is for ElasticNet (alone or in HardMask), this model has {prior.__name__}: use "
            "the guides MapEstimate or MeanField"
        )
    return descent(model)
