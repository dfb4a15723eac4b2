r"""Targets with a known truth on the real regulators of a data set.

On real cells the truth is not known, and on simulated ones the regulators are not real. Here the regulators, how they
follow one another and how they are measured, are those of the data, and only the targets are made (after Kernfeld et
al. 2024, Cell Systems, Algorithm 1).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ..data.expression import ExpressionData
from ..data.out_of_fold import OutOfFold, contexts_of, moments_within, out_of_fold, values_within
from .responses import RESPONSES, response

FEWEST_TFS = 4
PLAIN = 5  # one gene of so many is taken for a plain one where all are candidates
LEAST_R2, MOST_R2 = 0.01, 0.98  # less is explained of no gene that has regulators, more of none
MOST_ACTING = 4
WEIGHT = (0.5, 1.5)  # of a regulator beside the others of its target, in size


@dataclass(frozen=True)
class WorldKind:
    """What is done to a world.

    Parameters
    ----------
    hidden
        Share of the regulators that act as the others do and are not offered as candidates, nor measured.
    noise
        ``"gaussian"``, or ``"residual"``: what regressions of a real gene leave over in cells that they have not seen,
        cell by cell, so that what genes share beyond the regulators stays shared.
    responses
        Of `RESPONSES`; each target has one of them, in equal numbers.
    fewest_acting, most_acting
        A target has from the one to the other number of regulators, at most half of all. Default 1 and 4.
    weight
        Sizes of weights, beside those of the other regulators of the target, are drawn between these. Default 0.5 and
        1.5.
    as_measured
        Give each target the very values of a real gene, in the order of what was made: zeros and skew as measured, for
        methods that look at them. A linear response is then a monotone one.
    falling
        How much rarer each further regulator makes a target: k of them have a probability in proportion to
        exp(−``falling`` k). Default 0, all numbers alike.
    """

    hidden: float = 0.0
    noise: Literal["gaussian", "residual"] = "gaussian"
    responses: tuple[str, ...] = tuple(RESPONSES)
    fewest_acting: int = 1
    most_acting: int = MOST_ACTING
    weight: tuple[float, float] = WEIGHT
    as_measured: bool = False
    falling: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.hidden < 1:
            raise ValueError(f"`hidden` is {self.hidden}, expected a share of at least 0 and below 1")
        if self.noise not in ("gaussian", "residual"):
            raise ValueError(f"`noise` is {self.noise!r}, expected 'gaussian' or 'residual'")
        if unknown := [name for name in self.responses if name not in RESPONSES]:
            raise ValueError(f"unknown response {unknown[0]!r}: choose of {', '.join(RESPONSES)}")
        if not 1 <= self.fewest_acting <= self.most_acting or not self.responses:
            raise ValueError(f"{self}: expected at least one acting regulator and one response")
        if not 0 <= self.weight[0] < self.weight[1]:
            raise ValueError(f"`weight` is {self.weight}, expected two sizes, the larger one last")
        if not self.falling >= 0:
            raise ValueError(f"`falling` is {self.falling}, expected at least 0")


@dataclass(frozen=True, eq=False)
class World:
    """Cells with their truth.

    Attributes
    ----------
    data
        Real regulators, as far as they are offered, and made targets; the regulators are the candidates.
    targets
        Names of the targets; they follow the regulators among ``data.genes``.
    sign
        (tf, target) sign of the effect of each offered regulator, 0 where it has none.
    acting
        (target,) names of all regulators that act on it, those not offered included.
    responses
        (target,) name of the response.
    r2
        (target,) share of its variance that comes from its regulators.
    donors
        (target,) the real gene that lent its scale, R² and, as noise, its residuals.
    """

    data: ExpressionData
    targets: tuple[str, ...]
    sign: np.ndarray
    acting: tuple[tuple[str, ...], ...]
    responses: tuple[str, ...]
    r2: np.ndarray
    donors: tuple[str, ...]

    @property
    def present(self) -> np.ndarray:
        """(tf, target) whether there is an edge between what is offered."""
        return self.sign != 0

    def network(self) -> pd.DataFrame:
        """The edges between what is offered: ``source, target, sign``."""
        tf, target = np.nonzero(self.sign)
        return pd.DataFrame(
            {
                "source": np.asarray(self.data.tfs, dtype=object)[tf],
                "target": np.asarray(self.targets, dtype=object)[target],
                "sign": self.sign[tf, target],
            }
        )


def with_plain_genes(data: ExpressionData, *, seed: int = 0) -> ExpressionData:
    """The data with genes that are no candidate regulators, whose scale, R² and residuals targets can have: where every
    gene is a candidate, a fifth of them drawn at random is taken for plain ones (``notes`` say so)."""
    check_regulators(data)
    if len(data.tfs) < data.num_genes:
        return data
    order = np.random.default_rng([seed, 4]).permutation(data.num_genes)
    plain = max(1, data.num_genes // PLAIN)
    chosen = data.annotated(tfs=[data.genes[i] for i in sorted(order[plain:].tolist())])
    note = f"every gene is a candidate regulator: {plain} of {data.num_genes} genes were taken for plain ones"
    return chosen.with_missing(data.missing, note)


def donors_of(data: ExpressionData, number: int, *, seed: int = 0, among: Collection[str] | None = None) -> OutOfFold:
    """What the regulators explain of ``number`` real genes drawn at random (all, if there are fewer) of those that are
    no regulators, or of these ``among`` which there is one at least; genes that were perturbed are taken only if there
    are no others.

    Raises
    ------
    ValueError
        As `check_regulators` and `out_of_fold`; no gene that is no regulator (`with_plain_genes` has some).
    """
    check_regulators(data)
    tfs = set(data.tfs)
    touched = set() if data.perturbed is None else set(data.perturbed[:, 1].tolist())
    plain = [i for i, name in enumerate(data.genes) if name not in tfs]
    if not plain:
        raise ValueError("every gene is a candidate regulator: list fewer, `tfs=`")
    asked = [i for i in plain if among is None or data.genes[i] in among]
    pool = [i for i in asked if i not in touched] or asked
    chosen = np.random.default_rng([seed, 2]).choice(pool, size=min(number, len(pool)), replace=False)
    return out_of_fold(data, tuple(data.genes[i] for i in sorted(chosen.tolist())), seed=seed)


def check_regulators(data: ExpressionData) -> None:
    """Refuse data with fewer than four candidate regulators: of so few, hardly any could be hidden, or absent."""
    if len(data.tfs) < FEWEST_TFS:
        raise ValueError(
            f"{len(data.tfs)} candidate regulators are too few to make targets on them: {FEWEST_TFS} are the fewest"
        )


def semi_synthetic(
    data: ExpressionData,
    donors: OutOfFold,
    kind: WorldKind,
    *,
    num_targets: int,
    seed: int,
    levels: np.ndarray | None = None,
) -> World:
    r"""Draw a world on the regulators of ``data``.

    .. math:: y_{cg} = m_{kg} + s_g \Big(\sqrt{R^2_g}\; z\big[\textstyle\sum_{t \in A_g} w_{tg}\, f_{tg}(x_{ct})\big] +
              \sqrt{1 - R^2_g}\; e_{cg}\Big)

    for cell c of context k: A the acting regulators, 1 to 4 at random unless the kind has other numbers, hidden ones
    included; w of random sign with sizes U(0.5, 1.5), or those of the kind; f one of `RESPONSES`, standardised; z[·]
    standardises the sum; R², mean m and standard deviation
    s are those of a real gene, the donor; e is standard normal, or the donor's standardised residuals. A target whose
    donor is not explained at all (R² below 0.01) has no regulators: an edge without an effect is none.

    Parameters
    ----------
    data
        The real cells.
    donors
        Of `donors_of` the same data; each is used as often as the others, give or take one.
    kind
        What is done.
    num_targets
        Targets to make.
    seed
        Same seed, same world; the global generators are not touched.
    levels
        (cell, tf) what targets answer to, if it is not what was measured of the regulators (`seen_through`).

    Raises
    ------
    ValueError
        Too few regulators, no target, a share that hides all regulators or all but one; regulators that explain no
        gene.
    """
    signals = signals_of(data, donors, kind, num_targets=num_targets, seed=seed, levels=levels)
    r2 = true_r2(donors)[signals.donor]
    return signals.world(data, signals.values(data, r2), r2)


def true_r2(donors: OutOfFold) -> np.ndarray:
    """``(gene,)`` R² of targets that are made like these genes."""
    return np.where(donors.r2 < LEAST_R2, 0.0, donors.r2.clip(max=MOST_R2))


@dataclass(frozen=True, eq=False)
class Signals:
    """What regulators and noise contribute to made targets, each of variance one, before they are put together.

    ``kind`` and ``donors`` as of `semi_synthetic`; ``offered`` (tf,) places of the regulators that are offered; of the
    targets ``donor`` and ``answer`` (target,) which donor and which response, ``effect`` (all tfs, target), ``signal``
    and ``noise`` (cell, target).
    """

    kind: WorldKind
    donors: OutOfFold
    offered: np.ndarray
    donor: np.ndarray
    answer: np.ndarray
    effect: np.ndarray
    signal: np.ndarray
    noise: np.ndarray

    def values(self, data: ExpressionData, r2: np.ndarray) -> np.ndarray:
        """``(cell, target)`` at these R² ``(target,)``, in the units of the donors."""
        Y = np.sqrt(1 - r2) * self.noise + np.sqrt(r2) * self.signal
        context, names = contexts_of(data), tuple(self.donors.genes[i] for i in self.donor)
        if self.kind.as_measured:
            return _with_values_of(data.select_genes((*data.tfs, *self.donors.genes)), names, Y, context)
        return self.donors.mean[:, self.donor][context] + self.donors.sd[self.donor] * Y

    def world(self, data: ExpressionData, values: np.ndarray, r2: np.ndarray, kept: np.ndarray | None = None) -> World:
        """Of targets with these ``values`` (cell, target) and ``r2`` (target,); of some that are ``kept`` (any,), in
        order, if that is given."""
        kept = np.arange(len(self.donor)) if kept is None else kept
        targets = new_names(len(self.donor), data.genes)
        return World(
            data=with_targets(
                data, tuple(data.tfs[i] for i in self.offered), tuple(targets[i] for i in kept), values[:, kept]
            ),
            targets=tuple(targets[i] for i in kept),
            sign=np.sign(self.effect[self.offered][:, kept]).astype(int),
            acting=tuple(tuple(data.tfs[t] for t in np.flatnonzero(column)) for column in self.effect[:, kept].T),
            responses=tuple(self.kind.responses[i] for i in self.answer[kept]),
            r2=r2[kept],
            donors=tuple(self.donors.genes[i] for i in self.donor[kept]),
        )


def signals_of(
    data: ExpressionData,
    donors: OutOfFold,
    kind: WorldKind,
    *,
    num_targets: int,
    seed: int,
    levels: np.ndarray | None = None,
) -> Signals:
    """Draw what acts on the targets, and how; arguments and refusals of `semi_synthetic`."""
    check_regulators(data)
    if num_targets < 1:
        raise ValueError(f"`num_targets` is {num_targets}, expected at least 1")
    if not (donors.r2 >= LEAST_R2).any():
        raise ValueError(
            f"the candidate regulators explain none of {len(donors.genes)} genes in cells that were not fitted: "
            "targets like them have no regulators, and no list can be right"
        )
    generator = np.random.default_rng([seed, 3])
    number = len(data.tfs)
    num_hidden = round(kind.hidden * number)
    if number - num_hidden < 2:
        raise ValueError(f"`hidden` is {kind.hidden}: of {number} regulators fewer than two would be offered")
    offered = np.sort(generator.permutation(number)[num_hidden:])
    regulators = data.select_genes(data.tfs).X.numpy(force=True) if levels is None else levels
    context = contexts_of(data)
    mean, sd = moments_within(regulators, context)
    of = lambda t: values_within(regulators[:, t], context, mean[:, t], float(sd[t]))  # of all there would be gigabytes
    varied = np.flatnonzero(sd > 0)
    donor = _in_turn(len(donors.genes), num_targets, generator)
    answers = _in_turn(len(kind.responses), num_targets, generator)
    explained = true_r2(donors)[donor] > 0
    most = min(kind.most_acting, max(1, len(varied) // 2))
    fewest = min(kind.fewest_acting, most)
    effect = np.zeros((number, num_targets))
    signal, noise = np.zeros((2, data.num_cells, num_targets))
    for g in range(num_targets):
        left = generator.normal(size=data.num_cells) if kind.noise == "gaussian" else donors.residual[:, donor[g]]
        noise[:, g] = _standard(left)
        if explained[g]:
            acting = generator.choice(varied, size=number_acting(fewest, most, kind.falling, generator), replace=False)
            weight = generator.choice([-1.0, 1.0], size=len(acting)) * generator.uniform(*kind.weight, len(acting))
            parts = [response(of(t), kind.responses[answers[g]], generator) for t in acting]
            effect[acting, g] = weight
            signal[:, g] = _standard(np.stack(parts, axis=1) @ weight)
    return Signals(kind, donors, offered, donor, answers, effect, signal, noise)


def number_acting(fewest: int, most: int, falling: float, generator: np.random.Generator) -> int:
    """How many regulators a target has, from ``fewest`` to ``most``, as `WorldKind` says."""
    if falling == 0:
        return int(generator.integers(fewest, most + 1))
    numbers = np.arange(fewest, most + 1)
    chance = np.exp(-falling * (numbers - fewest))
    return int(generator.choice(numbers, p=chance / chance.sum()))


def with_targets(data: ExpressionData, tfs: tuple[str, ...], targets: tuple[str, ...], Y: Any) -> ExpressionData:
    """The real values of these regulators, with their contexts and interventions, beside made targets (cell, target),
    an array or a tensor; nothing is left to normalise."""
    kept = data.select_genes(tfs)
    matrix = torch.cat([kept.X, torch.as_tensor(Y, dtype=kept.X.dtype, device=kept.X.device)], dim=1)
    return replace(
        kept, matrix=matrix, genes=(*tfs, *targets), tfs=tfs, transform=None, column=None, view=None, notes=()
    )


def new_names(number: int, taken: tuple[str, ...]) -> tuple[str, ...]:
    """Names of made genes, none of which a real gene has."""
    known, start = set(taken), "made"
    while any(f"{start}_{i:04d}" in known for i in range(number)):
        start += "_"
    return tuple(f"{start}_{i:04d}" for i in range(number))


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean()
    spread = np.sqrt(np.square(values).mean())
    return values / spread if spread > 0 else values


def _in_turn(kinds: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """(number,) codes, each of the kinds as often as the others, in random order."""
    rounds = -(-number // kinds)
    return np.concatenate([generator.permutation(kinds) for _ in range(rounds)])[:number]


def _with_values_of(data: ExpressionData, donors: tuple[str, ...], Y: np.ndarray, context: np.ndarray) -> np.ndarray:
    """The donors' values within each context, in the order of Y (cell, target)."""
    place = {name: i for i, name in enumerate(data.genes)}
    measured = data.X.numpy(force=True)[:, [place[name] for name in donors]]
    result = np.empty_like(Y)
    for k in range(context.max() + 1):
        cells = np.flatnonzero(context == k)
        rank = np.argsort(np.argsort(Y[cells], axis=0, kind="stable"), axis=0, kind="stable")
        result[cells] = np.take_along_axis(np.sort(measured[cells], axis=0), rank, axis=0)
    return result
