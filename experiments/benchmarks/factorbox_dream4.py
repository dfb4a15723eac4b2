"""FactorBox and others on the DREAM4 networks of 100 genes."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from ...inference import fit
from ...models import FactorBox
from ...models.data.panel import panels_of
from .dream4 import Dream4, knockout_evidence
from .edge_scores import network_scores, table_of
from .factorbox_methods import ENGINE, alternate_panels, alternating, correlation, linear, response
from .results import Results

NETWORKS = (1, 2, 3, 4)


def run_dream4(folder: Path, results: Results) -> None:
    """All methods on the four networks."""
    results.resume_parts()
    for network in NETWORKS:
        task = f"dream4 size100_{network}"
        dream = Dream4.read(folder / "dream4" / f"size100_{network}")
        for name, method in dream4_methods().items():
            results.part(f"{task}, {name}", partial(one_method, results, task, dream, name, method))


def one_method(results: Results, task: str, dream: Dream4, name: str, method: Callable[[Dream4], pd.DataFrame]) -> None:
    """Rows of a method on a network."""
    started = time.process_time()
    table = method(dream)
    seconds = time.process_time() - started
    scores = network_scores(table, dream.truth) | {"seconds": seconds}
    scores.pop("sign_accuracy", None)  # the signs that come with these networks agree with knock-outs by chance
    for key, value in scores.items():
        results.add(task, name, 0, key, value)


def dream4_methods() -> dict[str, Callable[[Dream4], pd.DataFrame]]:
    """What is run on each network. Time series count where the name says so."""

    def fitted(d: Dream4, *, prior: bool = False, levels: str = "log", **rows: bool) -> pd.DataFrame:
        networks = {"knock-outs": knockout_evidence(d.z_scores(), d.genes)} if prior else None
        return fit(FactorBox.from_data(d.data(**rows), levels=levels, networks=networks), guide=ENGINE, seed=0).edges()

    def ranks(d: Dream4) -> pd.DataFrame:
        """Mean of the ranks in two tables: a plain ensemble."""
        tables = [table_of(d.z_scores(), d.genes), fitted(d)]
        merged = tables[0].merge(tables[1], on=["source", "target"], suffixes=("", "_fitted"))
        rank = merged["inclusion"].rank() + merged["weight_fitted"].abs().rank() / len(merged)
        return merged[["source", "target"]].assign(weight=merged["weight"].abs().rank() + rank)

    def panel_and_rates(d: Dream4, lifetime: float = 50.0) -> pd.DataFrame:
        return alternate_panels([*panels_of(d.data(), levels="raw"), d.rates(lifetime)], d.genes)

    return {
        "factorbox": fitted,
        "factorbox, raw levels": lambda d: fitted(d, levels="raw"),
        "factorbox, ends of time series too": lambda d: fitted(d, ends=True),
        "factorbox without knock-outs, they as prior": lambda d: fitted(d, prior=True, knockouts=False, ends=True),
        "mean rank of factorbox and z-score": ranks,
        "alternating": lambda d: alternating(d.data()),
        "alternating, time series as rates too": panel_and_rates,
        "linear, log levels": lambda d: linear(d.data()),
        "correlation, log levels": lambda d: correlation(d.data()),
        "knock-out z-score": lambda d: table_of(d.z_scores(), d.genes),
        "knock-out and knock-down response": lambda d: response(d.data(), standardised=True),
    }
