r"""Perturbation screens as prior networks: what knocking a gene down does to the others, and how sure that is.

The change of each gene is tested against control cells (or, in panels with one profile a perturbation, against the
other perturbations), and the tests of the whole screen together say which changes are real: a two-groups model with an
empirical null (Efron 2004, J Am Stat Assoc 99:96) whose alternative is a scale mixture of normals (Stephens 2017,
Biostatistics 18:275).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from .network import PriorNetwork
from .perturbation_labels import read_labels
from .perturbation_words import CONTROLS

NULL_WEIGHT = 10.0  # pseudo-tests of the null (Stephens 2017): without real effects the share of nulls ends at one
SHARED_WEIGHT = 10.0  # pseudo-tests by which perturbations share the mixture: matters where few genes are measured
NULL_GENES = 50.0  # genes from which a perturbation's own null counts as much as the null of the whole screen
POOLED = 200_000  # tests from which the shared mixture is estimated: more do not move it
SMALLEST = 2.0  # least width of real changes, in standard errors
LARGEST = 0.999  # no screen is surer of an edge; the log-odds of 1 are infinite
SUFFICIENT = 3  # cells or replicates of a perturbation from which its own variance is estimated


class Screen(Protocol):
    """What is read of `ExpressionData`."""

    @property
    def genes(self) -> tuple[str, ...]: ...
    @property
    def num_cells(self) -> int: ...
    @property
    def perturbed(self) -> Tensor | None: ...
    @property
    def context(self) -> Tensor | None: ...
    def chunks(self, size: int | None = None) -> Iterator[tuple[int, Tensor]]: ...


@dataclass(frozen=True, eq=False)
class ScreenEffects:
    """Changes of every gene in every perturbation.

    Attributes
    ----------
    perturbations, genes
        Names of the axes. A perturbed gene need not be measured.
    cells
        ``(perturbation,)`` cells with that gene, and no other, perturbed.
    effect, error
        ``(perturbation, gene)`` change of the mean against the controls in the units of the data (of logarithms a log
        fold change; of log1p of sparse counts mostly how many cells have any), less the centre of the null; and its
        standard error, such that their ratio is the normal score of the moderated t-test over the width of the null.
        NaN for the perturbed gene itself.
    probability
        ``(perturbation, gene)`` that the change is real: one minus the local false discovery rate.
    shrunk
        ``(perturbation, gene)`` posterior mean of the change.
    positive
        ``(perturbation, gene)`` probability that the change is positive, given that it is real.
    null_sd
        ``(perturbation,)`` width of the null, 1 in theory.
    controls
        Number of control cells, or of the other perturbations in a panel.
    """

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    cells: np.ndarray
    effect: np.ndarray
    error: np.ndarray
    probability: np.ndarray
    shrunk: np.ndarray
    positive: np.ndarray
    null_sd: np.ndarray
    controls: int

    def to_frame(self) -> pd.DataFrame:
        """One row a perturbation and gene, self-pairs left out, the surest first: source, target, effect, error,
        shrunk, probability, positive, cells."""
        row, column = np.nonzero(np.isfinite(self.effect))
        columns = ("effect", "error", "shrunk", "probability", "positive")
        table = pd.DataFrame({name: getattr(self, name)[row, column] for name in columns})
        table.insert(0, "source", np.array(self.perturbations, dtype=object)[row])
        table.insert(1, "target", np.array(self.genes, dtype=object)[column])
        return table.assign(cells=self.cells[row]).sort_values("probability", ascending=False, ignore_index=True)

    def scores(self) -> pd.DataFrame:
        """``(perturbation, gene)`` log-odds that the change is real, NaN for self-pairs: the screen as observed
        evidence (`Symphony`)."""
        found = special.logit(self.probability.clip(1 - LARGEST, LARGEST))
        return pd.DataFrame(np.where(np.isfinite(self.effect), found, np.nan), self.perturbations, self.genes)

    def to_network(
        self,
        name: str,
        *,
        direction: Literal["down", "up"] = "down",
        sources: Collection[str] | None = None,
        min_probability: float = 0.05,
        sign_probability: float = 0.9,
    ) -> PriorNetwork:
        """The real changes as edges from the perturbed genes. See `screen_to_network`."""
        if direction not in ("down", "up"):
            raise ValueError(f"`direction` is {direction!r}, expected 'down' (knock-outs, knock-downs) or 'up'")
        if not 0 <= min_probability < 1 or not 0.5 <= sign_probability <= 1:
            raise ValueError(
                f"min_probability={min_probability}, sign_probability={sign_probability}: expected numbers in [0, 1) "
                "and [0.5, 1]"
            )
        if sources is not None and not set(sources) & set(self.perturbations):
            raise ValueError(
                f"screen '{name}': none of the {len(set(sources))} `sources` was perturbed; it has "
                f"{', '.join(self.perturbations[:5])}{', ...' if len(self.perturbations) > 5 else ''}"
            )
        table = self.to_frame()
        kept = table["probability"] >= max(min_probability, np.finfo(np.float32).tiny)
        if sources is not None:
            kept &= table["source"].isin(list(sources))
        table = table[kept]
        response = np.where(table["positive"] > 0.5, 1, -1)
        sure = np.maximum(table["positive"], 1 - table["positive"]) >= sign_probability
        return PriorNetwork(
            source=table["source"].to_numpy(dtype=object),
            target=table["target"].to_numpy(dtype=object),
            probability=table["probability"].clip(upper=LARGEST).to_numpy(dtype=np.float64),
            sign=np.where(sure, -response if direction == "down" else response, 0),
            evidence=np.array(
                [f"{name}: change {e:+.3g} se {s:.2g}" for e, s in zip(table["effect"], table["error"], strict=True)]
            ),
            name=name,
        )


def screen_to_network(
    data: Screen,
    *,
    name: str,
    labels: Sequence[str] | None = None,
    controls: Collection[str] = CONTROLS,
    direction: Literal["down", "up"] = "down",
    sources: Collection[str] | None = None,
    hidden: int = 0,
    empirical_null: bool = True,
    min_probability: float = 0.05,
    sign_probability: float = 0.9,
) -> PriorNetwork:
    r"""A perturbation screen as a source of prior knowledge.

    An edge from each perturbed gene to each gene that responds, with the probability that the response is real (one
    minus the local false discovery rate of `screen_effects`). The sign of the edge is minus that of the response to a
    knock-down, plus that of the response to an over-expression.

    A response is a total effect: a target of a target responds too. And a gene that was not perturbed has no edges, as
    has one whose knock-down changed nothing: a source of prior knowledge does not tell them apart, observed evidence
    (`Symphony`) does.

    Parameters
    ----------
    data
        `ExpressionData` on a log scale (``normalize="log1p-cpm"`` of counts and of un-logged intensities), contexts
        being batches or replicates within which cells are compared.
    name
        Of the network.
    labels
        One a cell, as `read_labels` reads them: the perturbed gene, a guide of it, several genes joined by ``+`` or
        ``,``, or one of ``controls``; cells that do not say are left out. Default: the interventions of the data, cells
        without any being controls. The data know nothing of perturbed genes that are not measured: pass the labels of
        such a screen, or its cells count as controls.
    controls
        Labels of control cells; upper and lower case alike.
    direction
        ``"down"``: knock-outs and knock-downs; ``"up"``: over-expression.
    sources
        Perturbed genes to keep, e.g. the TFs. Default all.
    hidden, empirical_null
        As in `screen_effects`.
    min_probability
        Edges below it are left out. Default 0.05.
    sign_probability
        Edges whose more probable sign is less sure than that have none. Default 0.9.

    Returns
    -------
    PriorNetwork
        ``evidence`` of an edge says the change and its standard error.

    Raises
    ------
    ValueError
        As `screen_effects`; sources none of which was perturbed, options out of range.
    """
    effects = screen_effects(data, labels=labels, controls=controls, hidden=hidden, empirical_null=empirical_null)
    return effects.to_network(
        name,
        direction=direction,
        sources=sources,
        min_probability=min_probability,
        sign_probability=sign_probability,
    )


def screen_effects(
    data: Screen,
    *,
    labels: Sequence[str] | None = None,
    controls: Collection[str] = CONTROLS,
    hidden: int = 0,
    empirical_null: bool = True,
) -> ScreenEffects:
    r"""Effect sizes, standard errors and probabilities of all changes in a screen.

    *Cells.* The change of gene g in perturbation p is the difference of means, within contexts and combined by their
    precision. Its t-statistic is Welch's with moderated variances,

    .. math:: \tilde s^2_{pg} = \frac{d_0 s^2_g + d_p s^2_{pg}}{d_0 + d_p},

    :math:`s^2_g` the gene's variance pooled over groups and :math:`d_0` estimated from how much the variances of
    groups scatter about it (moments of their logarithms; Smyth 2004, Stat Appl Genet Mol Biol 3:3); none is taken for
    less than p and controls have together, moderated too (nearly a score test, which would pool about the common mean):
    sixty cells without counts of a sparse gene have no variance of their own.

    *Panels.* Where no perturbation has three cells there is no noise within perturbations: the change is the deviation
    from the gene's median over perturbations, its error the gene's spread over them (1.4826 MAD).

    *Two groups.* With z the normal score of t, each perturbation has an empirical null, its centre and width from the
    quartiles of z, drawn towards those of the whole screen where few genes are measured, and no narrower than theory.
    Then

    .. math:: \hat\beta_{pg}\mid\beta \sim N(\beta, e_{pg}^2), \qquad \beta_{pg} / e_{pg} \sim \pi_{p0}\,\delta_0 +
              \sum_m \pi_{pm} N(0, \tau_m^2), \qquad \mathrm{lfdr}_{pg} = P(\beta_{pg} = 0\mid\hat\beta_{pg}),

    with fixed widths, none below 2 (a change smaller than the noise cannot be told from none, and counts as none), and
    weights of each perturbation by EM, drawn towards those of the screen.

    Parameters
    ----------
    data, labels, controls
        As in `screen_to_network`.
    hidden
        Panels: leading components of the changes that are taken out first (growth, plates, off-target effects: what
        moves many genes in every other condition). Default 0.
    empirical_null
        False: the theoretical null N(0, 1). Default True: cells of one perturbation share batches and guides, which
        the standard errors of single cells know nothing of.

    Raises
    ------
    ValueError
        No perturbed or no control cells, fewer than three perturbations in a panel, a number of labels other than that
        of cells, a gene that does not vary, ``hidden`` for cells.
    """
    names, code = _groups(data, labels, controls)
    count, mean, square = _moments(data, code, len(names) + 1)
    own = np.array([[p == g for g in data.genes] for p in names])
    cells = count[:, 1:].sum(0)
    if cells.max() < SUFFICIENT:
        effect, error = _panel(names, count, mean, own, hidden)
        free = np.inf * np.ones_like(effect)
        number = len(names) - 1
    else:
        if hidden:
            raise ValueError(f"`hidden` is {hidden}: it is for panels with one profile a perturbation, not for cells")
        if count[:, 0].sum() < SUFFICIENT:
            raise ValueError(
                f"the screen has {int(count[:, 0].sum())} control cells, expected at least {SUFFICIENT}: label them "
                "non-targeting, control or the like, or name their label in `controls=`"
            )
        effect, error, free = _welch(count, mean, square)
        number = int(count[:, 0].sum())
    kept = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    if not kept.any():
        raise ValueError("no gene varies in the cells of the screen: nothing can be tested")
    effect, error = (np.where(kept & ~own, v, np.nan) for v in (effect, error))
    z = _normal_score(effect / error, free)
    width = np.ones(len(names))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(np.abs(z) > 1e-6, np.abs(effect / z), error)
    if empirical_null:
        centre, width = _empirical_null(z)
        effect, error = effect - centre[:, None] * error, error * width[:, None]
    probability, shrinkage, positive = _two_groups(effect / error)
    shrunk = np.where(np.isfinite(effect), shrinkage * effect, 0.0)
    return ScreenEffects(
        names, data.genes, cells.astype(int), effect, error, probability, shrunk, positive, width, number
    )


# -- groups of cells ----
def _groups(
    data: Screen, labels: Sequence[str] | None, controls: Collection[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the perturbations, and ``(cell,)`` 0 for controls, their place + 1, -1 where several genes are,
    or nobody knows."""
    wanted: list[str | None] = []  # None: several, or not known
    known = np.ones(data.num_cells, dtype=bool)
    if labels is None:
        genes: list[list[str]] = [[] for _ in range(data.num_cells)]
        for cell, gene in [] if data.perturbed is None else data.perturbed.tolist():
            genes[cell].append(data.genes[gene])
    else:
        if len(labels) != data.num_cells:
            raise ValueError(f"{len(labels)} labels for {data.num_cells} cells: pass one a cell")
        read = read_labels(labels, data.genes, controls=controls, unmeasured=True)
        known, genes = read.known, [list(one) for one in read.genes]
    for one, said in zip(genes, known, strict=True):
        single = one[0] if len(set(one)) == 1 else None
        wanted.append(None if not said else single if one else "")
    names = tuple(sorted({name for name in wanted if name}))
    if not names:
        raise ValueError(
            "no cell has a single gene perturbed: pass `labels`, or read the file with its perturbation column"
        )
    place = {"": 0} | {name: i + 1 for i, name in enumerate(names)}
    return names, np.array([-1 if name is None else place[name] for name in wanted])


def _moments(data: Screen, code: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(context, group)`` numbers of cells, ``(context, group, gene)`` means and centred sums of squares; one pass."""
    contexts = 1 if data.context is None else int(data.context.max()) + 1
    context = torch.zeros(len(code), dtype=torch.long) if data.context is None else data.context.cpu()
    place = torch.as_tensor(np.where(code < 0, contexts * groups, code)) + (context * groups) * torch.as_tensor(
        code >= 0
    )
    size = contexts * groups + 1  # the last takes cells that are left out
    count = torch.bincount(place, minlength=size).double()
    total = torch.zeros(size, len(data.genes), dtype=torch.float64)
    square = torch.zeros_like(total)
    origin: Tensor | None = None
    for start, block in data.chunks():
        block = block.double().cpu()
        origin = block.mean(0) if origin is None else origin  # a large mean does not cost the squares their digits
        where = place[start : start + len(block)]
        total.index_add_(0, where, block - origin)
        square.index_add_(0, where, (block - origin).square())
    assert origin is not None, "data have at least one cell"
    mean = total / count[:, None].clamp_min(1)
    square = (square - count[:, None] * mean.square()).clamp_min(0)
    shape = (contexts, groups, -1)
    found = count[:-1].reshape(contexts, groups), (mean + origin)[:-1].reshape(shape), square[:-1].reshape(shape)
    return found[0].numpy(), found[1].numpy(), found[2].numpy()


# -- tests ----
def _welch(count: np.ndarray, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Changes, standard errors and degrees of freedom, each ``(perturbation, gene)``."""
    degrees = np.maximum(count - 1, 0).sum(0)  # (group,)
    pooled = square.sum((0, 1)) / max(degrees.sum(), 1)  # (gene,)
    own = square.sum(0) / np.maximum(degrees, 1)[:, None]  # (group, gene)
    prior = _prior_degrees(own, pooled, degrees)
    freedom, free_both = prior + degrees, prior + degrees[1:, None] + degrees[0]  # (group,), (perturbation, 1)
    if np.isinf(prior):
        variance, together = np.broadcast_to(pooled, own.shape), pooled
    else:
        variance = (prior * pooled + degrees[:, None] * own) / freedom[:, None]
        # moderated too: the larger of two is biased upward by the noise of either
        together = (prior * pooled + degrees[1:, None] * own[1:] + degrees[0] * own[0]) / free_both
    treated, control = count[:, 1:], count[:, :1]  # (context, perturbation), (context, 1)
    compared = (treated > 0) & (control > 0)
    weight = np.where(compared, treated * control / np.maximum(treated + control, 1), 0.0)
    share = weight / np.where(weight.sum(0) > 0, weight.sum(0), np.nan)
    effect = np.einsum("kp,kpg->pg", share, mean[:, 1:] - mean[:, :1])
    a = (share**2 / np.maximum(treated, 1)).sum(0)[:, None] * np.maximum(variance[1:], together)
    b = (share**2 / np.maximum(control, 1)).sum(0)[:, None] * np.maximum(variance[0], together)
    free_a = np.where(variance[1:] < together, free_both, freedom[1:, None])  # those of the variance that is taken
    free_b = np.where(variance[0] < together, free_both, freedom[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        free = (a + b) ** 2 / (a**2 / free_a + b**2 / free_b)
    return effect, np.sqrt(a + b), free


def _prior_degrees(own: np.ndarray, pooled: np.ndarray, degrees: np.ndarray) -> float:
    """d0 from the scatter of log variances of groups, ``own`` (group, gene), about the gene's ``pooled`` one."""
    used = (own > 0) & (degrees[:, None] >= 2) & (pooled > 0)
    if used.sum() < 2:
        return np.inf
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.log(own / pooled)[used]
    half = np.broadcast_to(np.maximum(degrees, 2)[:, None] / 2, own.shape)[used]
    excess = np.var(scatter - special.digamma(half) + np.log(half)) - special.polygamma(1, half).mean()
    if excess <= 0:
        return np.inf
    x = 0.5 + 1 / excess  # Newton's method for trigamma(x) = excess, from above (Smyth 2004, appendix)
    for _ in range(50):
        value = special.polygamma(1, x)
        x += value * (1 - value / excess) / special.polygamma(2, x)
    return float(2 * x)


def _panel(
    names: Sequence[str], count: np.ndarray, mean: np.ndarray, own: np.ndarray, hidden: int
) -> tuple[np.ndarray, np.ndarray]:
    """Deviations from the gene's median over perturbations within contexts, and their spread; averaged over contexts
    in which a gene was perturbed."""
    if len(names) < 3:
        raise ValueError(
            f"a panel with {len(names)} perturbations of one or two profiles each: expected at least 3 perturbations"
        )
    if not 0 <= hidden < min(own.shape):
        raise ValueError(f"`hidden` is {hidden}, expected a number from 0 to {min(own.shape) - 1}")
    effect, variance, weight = np.zeros(own.shape), np.zeros(own.shape), np.zeros((len(names), 1))
    for number, level in zip(count[:, 1:], mean[:, 1:], strict=True):
        seen = number > 0
        if seen.sum() < 3:
            continue
        other = np.where(own[seen], np.nan, level[seen])
        change = level[seen] - np.nanmedian(other, axis=0)
        if hidden:
            inside = np.where(own[seen], 0.0, change)
            right = np.linalg.svd(inside, full_matrices=False)[2][:hidden]
            change = change - (inside @ right.T) @ right
        spread = 1.4826 * np.nanmedian(np.abs(np.where(own[seen], np.nan, change)), axis=0)
        effect[seen] += change
        variance[seen] += spread**2
        weight[seen] += 1
    weight = np.where(weight > 0, weight, np.nan)
    return effect / weight, np.sqrt(variance) / weight


def _normal_score(t: np.ndarray, free: np.ndarray) -> np.ndarray:
    """z with the tail probability of t; t itself with infinitely many degrees of freedom."""
    from scipy import stats  # here: it takes half a second to import

    with np.errstate(invalid="ignore"):
        tail = stats.t.sf(np.abs(t), np.where(np.isfinite(free), free, 1e9))
        z = np.where(np.isfinite(free), stats.norm.isf(np.maximum(tail, 1e-300)), np.abs(t))
    return np.sign(t) * z


def _empirical_null(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and width of the null of each perturbation, ``z`` (perturbation, gene) with NaN for self-pairs."""
    from scipy import stats

    normal_range = 2 * stats.norm.ppf(0.75)
    low, middle, high = np.nanquantile(z, (0.25, 0.5, 0.75), axis=1)
    number = np.isfinite(z).sum(1)
    share = number / (number + NULL_GENES)
    width = np.maximum((high - low) / normal_range, 1e-3)
    pooled_low, pooled_middle, pooled_high = np.nanquantile(z, (0.25, 0.5, 0.75))
    pooled = max((pooled_high - pooled_low) / normal_range, 1e-3)
    width = np.exp(share * np.log(width) + (1 - share) * np.log(pooled))
    return share * middle + (1 - share) * pooled_middle, np.maximum(width, 1.0)


# -- two groups ----
def _two_groups(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability that a change is real, the share of it that shrinkage leaves, and the probability that it is positive
    given that it is real; 0, 0 and ½ where nothing was tested. ``z`` (perturbation, gene), NaN where not."""
    from scipy import stats

    tested = np.isfinite(z)
    widths = _widths(float(np.abs(z[tested]).max()))
    pool = z[tested][:: -(-int(tested.sum()) // POOLED)]
    extra = np.zeros(len(widths))
    extra[0] = NULL_WEIGHT
    shared = _weights(_density(pool, widths), extra, np.full(len(widths), 1 / len(widths)))
    keep = widths**2 / (widths**2 + 1)  # (component,)
    probability, shrinkage, positive = np.zeros(z.shape), np.zeros(z.shape), np.full(z.shape, 0.5)
    for row, used in enumerate(tested):
        if not used.any():
            continue
        density = _density(z[row, used], widths)
        share = density * _weights(density, SHARED_WEIGHT * shared, shared)
        share /= share.sum(1, keepdims=True)
        probability[row, used] = share[:, 1:].sum(1)
        shrinkage[row, used] = share @ keep
        up = stats.norm.cdf(np.sqrt(keep[1:]) * z[row, used][:, None])
        positive[row, used] = (share[:, 1:] * up).sum(1) / np.maximum(share[:, 1:].sum(1), 1e-300)
    return probability, shrinkage, positive


def _widths(largest: float) -> np.ndarray:
    """0, and τ from `SMALLEST` to the largest score in steps of √2."""
    steps = max(int(np.ceil(2 * np.log2(max(largest, SMALLEST) / SMALLEST))), 0)
    return np.concatenate([[0.0], SMALLEST * 2 ** (0.5 * np.arange(1 + steps))])


def _density(z: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """``(test, component)`` marginal densities, each test's divided by its largest."""
    variance = widths**2 + 1
    log = -0.5 * (z[:, None] ** 2 / variance + np.log(variance))
    return np.exp(log - log.max(1, keepdims=True))


def _weights(density: np.ndarray, extra: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights of the components by EM, with ``extra`` pseudo-tests of each."""
    weights = start
    for _ in range(200):
        expected = (density * weights / (density @ weights)[:, None]).sum(0) + extra
        new = expected / expected.sum()
        if np.abs(new - weights).max() < 1e-5:
            return new
        weights = new
    return weights
