r"""DASH: iterative pruning whose scores weigh the learned weights against prior knowledge; IMP and BioPruning are its
ends."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...models.dynamics.phoenix_layers import LayeredNetwork
from .base import Sparsifier, normalised, prune_lowest
from .schedule import Schedule

INITIAL_SCORES, PRIOR_SCALES = ("uniform", "ones"), ("sum", "given")


class DASH(Sparsifier):
    r"""Domain-aware sparsity heuristic (Hossain et al. 2024, 3.1-3.3 and B.6), on each path of layers 1 ... L.

    With :math:`|\widetilde W_l|` as `normalised` gives it, for one layer :math:`\Omega = (1-\lambda)|\widetilde W| +
    \lambda|P|`; for two

    .. math:: \Omega_1^{(t)} &= (1-\lambda_1)|\widetilde W_1| + \lambda_1\big|(\Omega_1^{(t-1)\top})^{+}\,C\big| \\
              \Omega_2^{(t)} &= (1-\lambda_2)|\widetilde W_2| + \lambda_2\big|P\,(\Omega_1^{(t)})^{+}\big|

    and for L > 2, or where there is no C, from the last layer to the first with all other scores as they are,
    :math:`\Omega_l = (1-\lambda_l)|\widetilde W_l| + \lambda_l|(\Omega_L\cdots\Omega_{l+1})^{+} P\,
    (\Omega_{l-1}\cdots\Omega_1)^{+}|`. In each layer the lowest scores among the weights that are left are pruned, as
    many as the schedule says. λ = 0 is iterative magnitude pruning, λ = 1 goes by the prior alone.

    P and C are divided by their sums, as the weights are: the paper leaves the scale of P open, and the
    authors' program divides C only, by which its λ₂ = 0.01 weighs the prior about 550 times as much here
    (``prior_scale``). Scores start uniform on (0, 1): from ones, as Algorithm 1 writes, the first left inverse
    :math:`(X^\top X)^{-1}X^\top` does not exist; Moore and Penrose's does, has rank one, and so pulls all neurons of
    the first layer alike (``initial_scores``).

    Parameters
    ----------
    prior
        P ``(source, target)``: confidence in each edge from an input to an output; signs are ignored.
    coregulation
        C ``(source, source)``: how inputs act together. Default: :math:`|P||P|^\top`, as in the paper's simulations
        (B.3). Used with two layers only.
    strength
        λ of all layers, or one for each. Default 0.3, set on SIM350 with its truth in sight, where
        cross-validation takes 0.1 (docs/results/phoenix.md has both); `choose_strength` finds it for other data.
    schedule
        Default the paper's for SIM350.
    initial_scores
        Ω⁰: ``"uniform"`` (default) random, or ``"ones"``, Algorithm 1's.
    prior_scale
        ``"sum"`` (default) divides P and C by their sums; ``"given"`` leaves P as it is and divides C, the authors'
        program.

    Raises
    ------
    ValueError
        λ outside [0, 1] or not one a layer, an empty prior, matrices that do not fit the network, unknown words.
    """

    name = "dash"

    def __init__(
        self,
        prior: Tensor,
        *,
        coregulation: Tensor | None = None,
        strength: float | Sequence[float] = 0.3,
        schedule: Schedule | None = None,
        initial_scores: str = INITIAL_SCORES[0],
        prior_scale: str = PRIOR_SCALES[0],
    ) -> None:
        if initial_scores not in INITIAL_SCORES or prior_scale not in PRIOR_SCALES:
            raise ValueError(
                f"initial_scores={initial_scores!r}, prior_scale={prior_scale!r}: expected one of "
                f"{', '.join(INITIAL_SCORES)}, and one of {', '.join(PRIOR_SCALES)}"
            )
        self.initial_scores = initial_scores
        self.strength = (strength,) if isinstance(strength, (int, float)) else tuple(strength)
        if not all(0 <= s <= 1 for s in self.strength):
            raise ValueError(f"strength (lambda) is {self.strength}: expected values from 0 (magnitudes) to 1 (prior)")
        if prior.ndim != 2 or not bool((prior != 0).any()):
            raise ValueError(f"prior of shape {tuple(prior.shape)} has no edge: expected (source, target) with edges")
        size = prior.abs()
        C = size @ size.T if coregulation is None else coregulation.abs()
        if C.shape != (len(prior), len(prior)) or not bool((C != 0).any()):
            raise ValueError(f"coregulation has shape {tuple(C.shape)}, expected ({len(prior)}, {len(prior)}) not zero")
        self.P = size.T / size.sum() if prior_scale == "sum" else size.T  # (out, in)
        self.C = C / C.sum()  # (in, in)
        self.schedule = schedule or Schedule()
        self.scores: dict[str, Tensor] = {}

    def start(self, network: LayeredNetwork, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        weights = network.weights()
        for path in network.paths:
            if len(self.strength) not in (1, len(path.layers)):
                raise ValueError(f"{len(self.strength)} strengths for {len(path.layers)} layers: give one, or one each")
            found = (weights[path.layers[-1]].shape[0], weights[path.layers[0]].shape[1])
            if found != tuple(self.P.shape):
                raise ValueError(
                    f"the network has {found[1]} inputs and {found[0]} outputs, the prior {tuple(self.P.T.shape)}: "
                    "lay the prior on the network's names first"
                )
        self.P, self.C = (m.to(next(iter(weights.values()))) for m in (self.P, self.C))
        if self.initial_scores == "ones":
            self.scores = {n: torch.ones_like(w) for n, w in weights.items()}
        else:
            self.scores = {n: torch.rand(w.shape, generator=generator).to(w) for n, w in weights.items()}

    def before_epoch(self, epoch: int, network: LayeredNetwork) -> bool:
        amount = self.schedule.amount(epoch)
        if amount == 0:
            return False
        self._score(network)
        masks = network.masks()
        for path in network.paths:
            for name in path.layers:
                prune_lowest(masks[name], self.scores[name], amount)
        return True

    def _score(self, network: LayeredNetwork) -> None:
        sizes = normalised(network)
        for path in network.paths:
            names = path.layers
            lambdas = self.strength * len(names) if len(self.strength) == 1 else self.strength
            backwards = range(len(names) - 1, -1, -1)
            for depth in (0, 1) if len(names) == 2 else backwards:
                share, name = lambdas[depth], names[depth]
                score = (1 - share) * sizes[name]
                if share > 0:
                    score = score + share * self._wanted(names, depth).abs()
                self.scores[name] = score

    def _wanted(self, names: Sequence[str], depth: int) -> Tensor:
        """What the scores of a layer should be for the product of all to agree with the prior."""
        if len(names) == 2 and depth == 0:
            return _pseudo_inverse(self.scores[names[0]].T) @ self.C
        result = self.P
        later, earlier = names[depth + 1 :], names[:depth]
        if later:
            result = _pseudo_inverse(self._product(later)) @ result
        if earlier:
            result = result @ _pseudo_inverse(self._product(earlier))
        return result

    def _product(self, names: Sequence[str]) -> Tensor:
        """Scores multiplied from the last of these layers to the first."""
        result = self.scores[names[0]]
        for name in names[1:]:
            result = self.scores[name] @ result
        return result

    def state(self) -> dict[str, Any]:
        return dict(self.scores)

    def restore(self, state: dict[str, Any]) -> None:
        self.scores = {name: value.to(self.scores[name]) for name, value in state.items()}


class IMP(DASH):
    """Iterative magnitude pruning (Frankle and Carbin 2018, without rewinding): DASH with λ = 0, no prior needed.

    Parameters
    ----------
    schedule
        Default the paper's for SIM350.
    """

    name = "imp"

    def __init__(self, *, schedule: Schedule | None = None) -> None:
        self.strength, self.schedule, self.scores = (0.0,), schedule or Schedule(), {}

    def start(self, network: LayeredNetwork, *, seed: int) -> None:
        self.scores = {n: torch.zeros_like(w) for n, w in network.weights().items()}


class BioPruning(DASH):
    """Pruning by prior knowledge alone: DASH with λ = 1.

    Parameters
    ----------
    prior, coregulation, schedule, initial_scores, prior_scale
        As `DASH`.
    """

    name = "bio"

    def __init__(
        self,
        prior: Tensor,
        *,
        coregulation: Tensor | None = None,
        schedule: Schedule | None = None,
        initial_scores: str = INITIAL_SCORES[0],
        prior_scale: str = PRIOR_SCALES[0],
    ) -> None:
        super().__init__(
            prior,
            coregulation=coregulation,
            strength=1.0,
            schedule=schedule,
            initial_scores=initial_scores,
            prior_scale=prior_scale,
        )


def _pseudo_inverse(matrix: Tensor) -> Tensor:
    """Moore and Penrose's, in float64: the left one for tall and the right one for wide matrices of full rank, and
    still there when scores of a neuron have all gone."""
    return torch.linalg.pinv(matrix.double(), rtol=1e-6).to(matrix)
