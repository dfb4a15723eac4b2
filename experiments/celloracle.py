"""CellOracle: one network for each cell type on the edges of a base GRN, and knock-outs propagated through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from ..inference import Blocked, MapEstimate, Posterior, fit
from ..inference.answers.named_genes import check_regulators
from ..inference.draws.intervals import LEVEL
from ..inference.engines.bagging import Bagging
from ..models import ExpressionData, LinearNetwork
from ..models.data.accepts import takes_anndata
from ..models.data.checks import some
from ..priors import HardMask, Laplace, Normal, PriorNetwork

ESTIMATORS = ("bagging", "bayesian", "lasso")
RIDGE = 10.0  # CellOracle's penalty on standardised genes
LASSO_SCALE = 0.05  # of the Laplace density: as `Laplace` expects of a typical edge
NUM_BAGS = 100
STEPS = 3  # of propagation, as CellOracle
MIN_CELLS = 20  # of a cell type


@takes_anndata
def celloracle(
    data: ExpressionData,
    base_grn: PriorNetwork | Mapping[str, PriorNetwork],
    *,
    estimator: str = "bagging",
    ridge: float = RIDGE,
    lasso_scale: float = LASSO_SCALE,
    num_bags: int = NUM_BAGS,
    num_steps: int = 1500,
    cell_types: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Posterior]:
    r"""The networks of all cell types, fitted one by one (Kamimoto et al. 2023, Nature 614:742).

    Each is a `LinearNetwork` with `HardMask`: only edges of the base GRN exist, and only genes that it gives a
    regulator are explained.

    Parameters
    ----------
    data
        Cells; ``context`` are the cell types. Expression as CellOracle takes it: normalised, on a log scale.
    base_grn
        One or several prior networks; an edge may exist when any of them lists it.
    estimator
        ``"bagging"`` (ridge on bootstrap samples, `Bagging`), ``"bayesian"`` (Bayesian ridge with learned scale and
        noise, exact intervals, `Blocked`), or ``"lasso"`` (the MAP of `Laplace`, no uncertainty).
    ridge
        α of bagging, per squared standardised weight. Default 10, CellOracle's.
    lasso_scale
        s of the Laplace density; the LASSO's penalty is 1/s nats. Default 0.05.
    num_bags
        Of bagging.
    num_steps
        Most steps of the Bayesian ridge and of the LASSO. Default 1,500.
    cell_types
        Names of the contexts to fit. Default all.
    seed
        Every cell type uses it.

    Returns
    -------
    dict
        A `Posterior` by cell type. Weights are in standard deviations *of that cell type*. Genes that are constant in a
        cell type are dropped there; ``posterior.notes`` say which.

    Raises
    ------
    ValueError
        An unknown estimator or cell type, and before any fit: fewer than 20 cells of one, a base GRN without an edge
        among its genes.

    Examples
    --------
    >>> from pyrogrn.models.simulators import simulate_linear
    >>> import pandas as pd
    >>> simulation = simulate_linear(num_genes=10, num_tfs=3, num_cells=50, seed=0)
    >>> edges = pd.DataFrame({"source": ["G0000", "G0001"], "target": ["G0005", "G0006"], "probability": [0.9, 0.9]})
    >>> list(celloracle(simulation.data, PriorNetwork.from_edges(edges, name="base GRN"), num_bags=8))
    ['all']
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"`estimator` is {estimator!r}: choose one of {', '.join(ESTIMATORS)}")
    if ridge <= 0 or lasso_scale <= 0:
        raise ValueError(f"ridge={ridge}, lasso_scale={lasso_scale}: expected numbers above 0")
    networks = {"base GRN": base_grn} if isinstance(base_grn, PriorNetwork) else dict(base_grn)
    names = tuple(cell_types) if cell_types is not None else data.context_names
    unknown = [name for name in names if name not in data.context_names]
    if unknown:
        raise ValueError(f"no cell types {some(unknown)}: `data` have {some(data.context_names, 20)}")
    reasons = unfit(data, networks, cell_types=names)
    if reasons:
        raise ValueError(f"{next(iter(reasons.values()))}; name the types to fit in `cell_types`")
    return {
        name: _one(cells_of(data, name), name, networks, estimator, ridge, lasso_scale, num_bags, num_steps, seed)
        for name in names
    }


def unfit(
    data: ExpressionData, networks: Mapping[str, PriorNetwork], *, cell_types: Sequence[str] | None = None
) -> dict[str, str]:
    """Why cell types cannot be fitted, by name: fewer than 20 cells, or no edge of the base GRN between a candidate
    regulator and a gene that vary."""
    reasons = {}
    for name in cell_types if cell_types is not None else data.context_names:
        cells = cells_of(data, name)
        if cells.num_cells < MIN_CELLS:
            reasons[name] = f"cell type {name!r} has {cells.num_cells} cells, expected at least {MIN_CELLS}"
            continue
        try:
            found = _listed_targets(cells.without_constant_genes(), networks)
        except ValueError as error:  # no candidate regulator varies
            reasons[name] = f"cell type {name!r} without its constant genes: {error}"
            continue
        if not found:
            reasons[name] = (
                f"the base GRN has no target with a regulator among the genes that vary in cell type {name!r}: check "
                "the gene names"
            )
    return reasons


def _listed_targets(data: ExpressionData, networks: Mapping[str, PriorNetwork]) -> list[str]:
    """Genes to which the base GRN gives a candidate regulator other than themselves."""
    tfs, listed = set(data.tfs), set()
    for network in networks.values():
        table = network.to_frame()
        listed |= set(table.loc[table["source"].isin(tfs) & (table["source"] != table["target"]), "target"])
    return [gene for gene in data.genes if gene in listed]


def _listed_regulators(data: ExpressionData, networks: Mapping[str, PriorNetwork]) -> tuple[str, ...]:
    """Candidate regulators to which the base GRN gives a gene other than themselves. The others, of which there are
    many where no list is given, would count as regulators in every picture and sentence, and have no edge."""
    genes, listed = set(data.genes), set()
    for network in networks.values():
        table = network.to_frame()
        listed |= set(table.loc[table["target"].isin(genes) & (table["source"] != table["target"]), "source"])
    return tuple(tf for tf in data.tfs if tf in listed)


def cells_of(data: ExpressionData, cell_type: str) -> ExpressionData:
    """The cells of one type, as data of one context."""
    number = data.context_names.index(cell_type)
    if data.context is None:
        chosen = data if len(data.context_names) == 1 else data.subset(np.zeros(0, dtype=np.int64))
    else:
        chosen = data.subset((data.context == number).cpu().numpy())
    return replace(chosen, context=None, context_names=(cell_type,))


def _one(
    data: ExpressionData,
    name: str,
    networks: Mapping[str, PriorNetwork],
    estimator: str,
    ridge: float,
    lasso_scale: float,
    num_bags: int,
    num_steps: int,
    seed: int,
) -> Posterior:
    varying = data.without_constant_genes()
    notes = [f"{name}: {note}" for note in varying.notes[len(data.notes) :]]
    targets = _listed_targets(varying, networks)
    listed = _listed_regulators(varying, networks)
    if len(listed) < len(varying.tfs):
        left = len(varying.tfs) - len(listed)
        notes.append(f"{name}: {left} candidate regulators without an edge of the base GRN among these genes left out")
        varying = replace(varying, tfs=listed)
    base, guide, options = engine_for(estimator, ridge, lasso_scale, num_bags, num_steps)
    model = LinearNetwork.from_data(varying, edge_prior=HardMask(base), networks=networks, targets=targets)
    explained = model.edge_prior.allowed.any(0).tolist()
    if not all(explained):  # listed with a probability that rounds to nothing
        targets = [gene for gene, has in zip(targets, explained, strict=True) if has]
        model = LinearNetwork.from_data(varying, edge_prior=HardMask(base), networks=networks, targets=targets)
    posterior = fit(model, varying, guide=guide, seed=seed, **options)
    return posterior.with_notes([*data.notes, *notes])


def engine_for(
    estimator: str, ridge: float, lasso_scale: float, num_bags: int, num_steps: int
) -> tuple[Any, Any, dict[str, Any]]:
    """Edge prior beneath the mask, engine, and options of `fit`, of an estimator of `celloracle`."""
    if estimator == "bagging":
        return Normal(scale=ridge**-0.5), Bagging(num_bags=num_bags, chains=4 if num_bags % 4 == 0 else 1), {}
    if estimator == "bayesian":
        return Normal(), Blocked(), {"num_steps": num_steps}
    return Laplace(scale=lasso_scale), MapEstimate(), {"num_draws": 1, "restarts": 1, "num_steps": num_steps}


def links(posterior: Posterior) -> pd.DataFrame:
    """CellOracle's table of links: ``source, target, coef_mean, coef_abs, p, -logp``, sorted by ``coef_abs``.

    ``p`` is CellOracle's: a one-sample t-test of the draws against zero. It shrinks with the number of bags and so
    says that their mean is not zero, not that the edge exists; `Posterior.edges` has ``lfsr``, which does not. NaN
    with fewer than 2 draws (``"lasso"``).
    """
    draws = posterior.draws["W"].reshape(-1, *posterior.draws["W"].shape[2:]).astype(np.float64)
    source, target = np.nonzero(posterior.model.edge_prior.allowed.cpu().numpy())
    values = draws[:, source, target]
    mean, p = values.mean(0), np.full(len(source), np.nan)
    if len(values) > 1:
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        t = np.divide(mean, error, out=np.full_like(mean, np.inf), where=error > 0)
        p = 2 * stats.t.sf(np.abs(t), len(values) - 1)
    coords = posterior.coords
    table = pd.DataFrame(
        {
            "source": np.asarray(coords["tf"], dtype=object)[source],
            "target": np.asarray(coords["target"], dtype=object)[target],
            "coef_mean": mean,
            "coef_abs": np.abs(mean),
            "p": p,
            "-logp": -np.log10(np.clip(p, 1e-300, None)),
        }
    )
    return table.sort_values("coef_abs", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True, eq=False)
class CellShifts:
    """Simulated change of every cell: ``mean`` and ``sd`` over draws (cell, gene), as frames in the units of the data;
    ``table`` (gene, change, sd, lower, upper): the average cell, with its interval over draws."""

    mean: pd.DataFrame
    sd: pd.DataFrame
    table: pd.DataFrame


def simulate_shift(
    posterior: Posterior,
    data: ExpressionData,
    *,
    knockout: Sequence[str] = (),
    overexpress: Mapping[str, float] | None = None,
    steps: int = STEPS,
    level: float = LEVEL,
    num_draws: int = 100,
    seed: int = 0,
) -> CellShifts:
    r"""CellOracle's in-silico perturbation, cell by cell, with the uncertainty of the network.

    .. math:: \delta^{(0)} = x' - x, \qquad \delta^{(i+1)} = \max(x + \delta^{(i)} W,\ x_{\min}) - x

    with clamped genes held, ``steps`` times; :math:`x_{\min}` is zero, or the smallest value seen of a gene that can be
    negative. Weights are turned from standard deviations into units of expression. `Posterior.predict` has the same for
    the average cell without the floor, and the solved steady state.

    Parameters
    ----------
    posterior
        Of one cell type (`celloracle`).
    data
        Cells of that type, or any others with its genes.
    knockout, overexpress
        Regulators set to zero (where values are negative: to the smallest seen), or to a level.
    steps
        Default 3, CellOracle's.
    level, num_draws, seed
        Of the intervals; draws of the network used.

    Raises
    ------
    ValueError
        No gene, a gene that is no regulator or clamped twice, fewer than one step or draw, data without genes of the
        fit.
    """
    model: Any = posterior.model
    if not model.plain_regression:
        raise ValueError(f"{type(model).__name__} is no linear network: simulate_shift is for fits of `celloracle`")
    levels: dict[str, float | None] = {**dict.fromkeys(knockout), **(overexpress or {})}
    both = sorted(set(knockout) & set(overexpress or {}))
    if not levels or both:
        raise ValueError(f"clamped twice: {both}" if both else "nothing to simulate: name a gene to knock out")
    check_regulators(list(levels), model.genes, model.tfs)
    if steps < 1 or num_draws < 1 or not 0 < level < 1:
        raise ValueError(f"steps={steps}, num_draws={num_draws}, level={level}: expected 1 or more, a level in (0, 1)")
    missing = [gene for gene in model.genes if gene not in set(data.genes)]
    if missing:
        raise ValueError(f"`data` lack {len(missing)} genes of the fit: {some(missing)}")
    genes = list(model.genes)
    place = {gene: i for i, gene in enumerate(data.genes)}
    X = data.rows(slice(0, data.num_cells))[:, [place[g] for g in genes]].double().cpu()
    W = _raw_weights(posterior, num_draws, seed)  # (draw, gene, gene)
    minimum = model.minimum.double().cpu()
    clamped = [genes.index(gene) for gene in levels]
    final = torch.tensor(
        [min(0.0, float(minimum[i])) if v is None else float(v) for i, v in zip(clamped, levels.values(), strict=True)]
    ).double()
    start = torch.zeros_like(X)
    start[:, clamped] = final - X[:, clamped]
    floor = minimum.clamp_max(0.0)
    first, second, average = torch.zeros_like(X), torch.zeros_like(X), []
    for w in W:
        shift = start
        for _ in range(steps):
            shift = torch.maximum(X + shift @ w, floor) - X
            shift[:, clamped] = start[:, clamped]
        first += shift
        second += shift.square()
        average.append(shift.mean(0).numpy())
    mean = first / len(W)
    sd = (second / len(W) - mean.square()).clamp_min(0).sqrt()
    draws = np.stack(average)
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    table = pd.DataFrame({"gene": genes, "change": draws.mean(0), "sd": draws.std(0), "lower": lower, "upper": upper})
    frame = lambda v: pd.DataFrame(v.numpy(), columns=genes)
    return CellShifts(frame(mean), frame(sd), table)


def _raw_weights(posterior: Posterior, num_draws: int, seed: int) -> torch.Tensor:
    """``(draw, gene, gene)`` effect of one unit of source on units of target, zero where there is no edge."""
    model: Any = posterior.model
    drawn = posterior.draws["W"].reshape(-1, *posterior.draws["W"].shape[2:])
    if num_draws < len(drawn):
        drawn = drawn[np.random.default_rng(seed).choice(len(drawn), num_draws, replace=False)]
    scale, tf, target = model.scale.double().cpu(), model.tf_index.cpu(), model.target_index.cpu()
    W = torch.zeros(len(drawn), len(scale), len(scale), dtype=torch.float64)
    W[:, tf[:, None], target] = torch.as_tensor(drawn).double() * scale[target] / scale[tf][:, None]
    return W
