"""Methods that read a panel of knock-downs, each from conditions to a table of edges."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from ...inference import Gibbs, fit
from ...inference.alternating.penalties import Penalties
from ...inference.alternating.solution import alternate
from ...models import ExpressionData, FactorBox, LinearNetwork
from ...models.data.panel import Panel, panels_of
from ..baselines import Correlation
from .edge_scores import table_of

ENGINE = Gibbs(num_chains=2, num_warmup=100, num_samples=150)  # short: there are a hundred fits


def factorbox(data: ExpressionData) -> pd.DataFrame:
    """As users run it: drives linear in log levels, which is not what the panels are simulated from."""
    return fit(FactorBox.from_data(data), guide=ENGINE, seed=0).edges()


def in_logs(data: ExpressionData) -> ExpressionData:
    """The same conditions and interventions with log levels."""
    return replace(data, matrix=data.X.log())


def linear(data: ExpressionData) -> pd.DataFrame:
    """The linear network on log levels."""
    return fit(LinearNetwork.from_data(in_logs(data)), guide=ENGINE, seed=0).edges()


def correlation(data: ExpressionData) -> pd.DataFrame:
    """Of log levels."""
    return Correlation()(in_logs(data))


def alternating(data: ExpressionData, *, sparsity: float = 0.0) -> pd.DataFrame:
    """The alternating solution, standardised weights."""
    return alternate_panels(panels_of(data, levels="raw"), data.genes, sparsity)


def alternate_panels(panels: list[Panel], genes: tuple[str, ...], sparsity: float = 0.0) -> pd.DataFrame:
    """The same of panels as they are."""
    found = alternate(panels, Penalties(sparsity=sparsity))
    return table_of((found.W * found.scale[:, None]).cpu().numpy(), genes)


def response(data: ExpressionData, *, standardised: bool = False) -> pd.DataFrame:
    """Log fold change of every gene in the regulator's own knock-downs against the other conditions, negated (a target
    that falls with its regulator is activated); nothing for genes without a knock-down. Replicates and contexts are
    averaged. ``standardised``: in standard deviations of the gene over the conditions."""
    Y = data.X.double().log().numpy()
    codes = np.zeros(len(Y), dtype=int) if data.context is None else data.context.numpy()
    W, count = np.zeros((data.num_genes, data.num_genes)), np.zeros((data.num_genes, 1))
    for k in range(data.num_contexts):
        part = Y[codes == k]
        Y[codes == k] = part - part.mean(0)
    if standardised:
        Y = Y / Y.std(0)
    assert data.perturbed is not None, "a panel has knock-downs"
    for row, gene in data.perturbed.tolist():
        W[gene] -= Y[row]
        count[gene] += 1
    return table_of(W / np.maximum(count, 1), data.genes)


METHODS: dict[str, Callable[[ExpressionData], pd.DataFrame]] = {
    "factorbox": factorbox,
    "alternating": alternating,
    "linear, log levels": linear,
    "correlation, log levels": correlation,
    "knock-down response": response,
}
