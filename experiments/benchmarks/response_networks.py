"""Networks of all methods that take perturbed cells, for section ``responses``.

Each method gets what it is for: `linear` log counts with the interventions; the guides (`grnular`, `glad-tf`) counts as
measured, which panels of levels have not; `factorbox` one condition a row, so the mean over the cells of a condition
of Perturb-seq; `screen` what a perturbation moves; `trajectory` the time courses of DREAM4; `celloracle`, `pmf-grn` and
`netrex-cf` a prior network (CollecTRI; of mouse DoRothEA), which DREAM4 has not, and the last two at most `MOST_CELLS`
cells. `ppca` and `muvi` have programs in the place of regulators, `phoenix` takes its edges from `trajectory`,
`cellbox` asks for doses of drugs and `symphony` for scores of every pair.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from ...inference import fit
from ...inference.amortised.weights import load_weights
from ...models import PMFGRN, ExpressionData, FactorBox, LinearNetwork, NetREXCF, TrajectoryNetwork
from ...priors import HardMask, PriorNetwork
from ...priors.screens import screen_effects
from ..baselines import GENIE3, Correlation, GRNBoost2, Lasso, RandomControl, Ridge
from .amortised import probabilities
from .factorbox_methods import ENGINE

SEED = 0
QUICK = (Correlation(), Ridge(), Lasso(), RandomControl())
TREES = (GENIE3(num_trees=100), GRNBoost2())
MOST_FOR_TREES = 200_000  # cells × targets: GENIE3 did not end in four minutes of a busy machine on 8,377 × 299
MOST_CELLS = 1000  # of models that have an activity of every regulator in every cell
STEPS, DRAWS, RESTARTS = 800, 100, 2  # of variational fits, as in section `yeast`

Make = Callable[[], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Material:
    """What networks are made of: ``data`` on a log scale, with interventions on measured genes; ``labels`` of its rows,
    of unmeasured genes too; and where there are any ``counts`` of the same cells, a ``panel`` of levels with one
    condition a row, time ``courses``, and ``networks`` that are known before."""

    data: ExpressionData
    labels: tuple[str, ...]
    counts: ExpressionData | None = None
    panel: ExpressionData | None = None
    courses: ExpressionData | None = None
    networks: dict[str, PriorNetwork] | None = None


def methods(material: Material) -> dict[str, Make]:
    """By name, what makes each network that this material allows."""
    data = material.data
    size = data.num_cells * data.num_genes
    made: dict[str, Make] = {
        one.name: partial(one, data, seed=SEED) for one in (*QUICK, *(TREES if size <= MOST_FOR_TREES else ()))
    }
    made["linear"] = lambda: fit(LinearNetwork.from_data(data), seed=SEED).edges()
    made["linear, interventions not told"] = lambda: fit(LinearNetwork.from_data(untold(data)), seed=SEED).edges()
    made["screen"] = partial(screened, data, material.labels)
    if material.counts is not None:
        made |= {name: partial(by_guide, name, material.counts) for name in ("grnular", "glad-tf")}
    if material.panel is not None:
        made["factorbox"] = partial(by_factorbox, material.panel)
    if material.courses is not None:
        made["trajectory"] = partial(by_trajectory, material.courses)
    if material.networks:
        made["celloracle"] = partial(masked, data, material.networks)
        made["pmf-grn"] = partial(by_activities, PMFGRN, data, material.networks)
        made["netrex-cf"] = partial(by_activities, NetREXCF, data, material.networks)
    return made


def untold(data: ExpressionData) -> ExpressionData:
    """The same cells, nobody having perturbed anything."""
    return ExpressionData(data.X, data.genes, data.tfs)


def screened(data: ExpressionData, labels: tuple[str, ...]) -> pd.DataFrame:
    """Probability that a gene responds to a perturbation, and minus its response: what falls with a regulator is
    activated by it."""
    found = screen_effects(data, labels=labels)
    known = np.isfinite(found.effect)
    source, target = np.nonzero(known)
    table = pd.DataFrame(
        {
            "source": np.asarray(found.perturbations, dtype=object)[source],
            "target": np.asarray(found.genes, dtype=object)[target],
            "inclusion": found.probability[known],
            "weight": -found.effect[known],
        }
    )
    return table[table["source"].isin(set(data.genes)) & (table["source"] != table["target"])]


def by_guide(name: str, counts: ExpressionData) -> pd.DataFrame:
    """Edge probabilities of a guide; it gives no weights, so these are probabilities with the sign of a correlation."""
    probability = probabilities(load_weights(name)[0], counts)
    X = counts.X.double().log1p().numpy()
    sign = np.sign(np.nan_to_num(np.corrcoef(X.T)[counts.tf_index.numpy()]))
    source, target = np.meshgrid(counts.tfs, counts.genes, indexing="ij")
    table = pd.DataFrame({"source": source.ravel(), "target": target.ravel(), "inclusion": probability.ravel()})
    return table.assign(weight=(probability * sign).ravel())[table["source"] != table["target"]]


def by_factorbox(panel: ExpressionData) -> pd.DataFrame:
    """Drives linear in the logarithms of levels."""
    return fit(FactorBox.from_data(panel, levels="log"), guide=ENGINE, seed=SEED).edges()


def by_trajectory(courses: ExpressionData) -> pd.DataFrame:
    """Of time courses alone."""
    return fit(TrajectoryNetwork.from_data(courses), seed=SEED).edges()


def masked(data: ExpressionData, networks: dict[str, PriorNetwork]) -> pd.DataFrame:
    """CellOracle's regression within the edges that are listed; others have no weight."""
    model = LinearNetwork.from_data(data, networks=networks, edge_prior=HardMask())
    table = fit(model, num_steps=STEPS, restarts=RESTARTS, seed=SEED).edges()
    return table[table["weight"] != 0]


def by_activities(
    model: type[PMFGRN] | type[NetREXCF], data: ExpressionData, networks: dict[str, PriorNetwork]
) -> pd.DataFrame:
    """Of some of the cells."""
    cells = np.sort(np.random.default_rng(SEED).permutation(data.num_cells)[:MOST_CELLS])
    few = untold(data.subset(cells)).without_constant_genes()
    posterior = fit(
        model.from_data(few, networks=networks), num_steps=STEPS, num_draws=DRAWS, restarts=RESTARTS, seed=SEED
    )
    return posterior.edges()


def means(data: ExpressionData, labels: np.ndarray) -> ExpressionData:
    """One row a label, control first: the mean counts per million of its cells, and one more, so that none is zero."""
    names = sorted(set(labels.tolist()), key=lambda label: (label != "control", label))
    X = torch.stack([data.X[torch.as_tensor(labels == name)].double().expm1().mean(0) for name in names]) + 1
    there = [name if name in set(data.genes) else "control" for name in names]
    return ExpressionData(X.float(), data.genes, data.tfs).annotated(perturbed=there)


def levels(data: ExpressionData, shift: float) -> ExpressionData:
    """Levels of ``log(1 + level)``, and a bit more, with the same interventions."""
    return replace(data, matrix=data.X.expm1() + shift)
