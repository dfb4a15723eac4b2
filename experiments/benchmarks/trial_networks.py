"""Is a list at 10% a tenth wrong over networks of a kind? One network can be far better or worse than its kind: here
are ten of each, by the way that users take (`infer`: fit, trial, corrected), simulated with seeds that nothing was
chosen on. And of thirty of each, in how many the trial sees causes that are not among the regulators."""

from pathlib import Path

import numpy as np

from ...inference.recalibration import tune
from ...inference.recalibration.shared_causes import LIMIT, shared_causes
from ...inference.recalibration.witnesses import witnesses_of
from .ladder import RAW, could_be_listed
from .results import Results, mean_se
from .trial_parts import plain_pairs
from .trial_runs import fitted, of_plain, scores
from .trial_subjects import MAKE

SEEDS = range(1000, 1010)
SPAN = f"{SEEDS[0]}-{SEEDS[-1]}"
CORRECTED = "linear"
SEEN, TOUCHED = "causes seen that are not there", "genes that have them"
LAST = "networks"  # the score that is added last
MANY = range(4000, 4030)
MANY_SPAN = f"{MANY[0]}-{MANY[-1]}"
CAUSES, SEEN_IN, ALONE = "shared causes", "seen in", "seen in, if 0.22 were enough"


def run(folder: Path, results: Results) -> None:
    """All rows; ``folder`` is not read. Finished kinds are kept."""
    results.resume()
    for kind in MAKE:
        if results.value(kind, CORRECTED, SPAN, LAST) is None:
            add_rows(results, kind, [of_network(kind, seed) for seed in SEEDS], SPAN)
        if results.value(kind, CAUSES, MANY_SPAN, LAST) is None:
            add_seen(results, kind, MANY)


def add_seen(results: Results, kind: str, seeds: range) -> None:
    """Shares of networks in which causes are seen that are not among the regulators, and in which the first factor is
    above the least that it takes."""
    found, alone = [], []
    for seed in seeds:
        data = MAKE[kind](kind, seed).logged
        witnesses = witnesses_of(data, seed=seed)
        causes = None if witnesses is None else shared_causes(data, witnesses, seed=seed)
        found.append(float(causes is not None and causes.number > 0))
        alone.append(float(causes is not None and causes.shares[0] > LIMIT))
    span = f"{seeds[0]}-{seeds[-1]}"
    results.add(kind, CAUSES, span, SEEN_IN, *mean_se(found))
    results.add(kind, CAUSES, span, ALONE, *mean_se(alone))
    results.add(kind, CAUSES, span, LAST, len(found))


def of_network(kind: str, seed: int) -> dict[str, dict[str, float]]:
    """Scores by method of one network."""
    subject = MAKE[kind](kind, seed)
    _, true = plain_pairs(subject)
    posterior = fitted(subject.logged)
    trial = tune(subject.logged, seed=seed)
    found = {RAW: posterior, CORRECTED: trial.apply(posterior, subject.logged)}
    values = {}
    for method, one in found.items():
        probability = of_plain(one, subject.logged)
        values[method] = scores(probability, true) | could_be_listed(probability, true)
    shared = trial.settings["shared"]  # whether causes are seen that are not among the regulators
    values[CORRECTED] |= {SEEN: float(shared["factors"] > 0), TOUCHED: shared["genes"] / shared["of"]}
    return values


def add_rows(results: Results, kind: str, networks: list[dict[str, dict[str, float]]], span: str) -> None:
    """Means over networks with their standard errors; of lists that are not empty the share that is wrong, the largest
    such share, and in how many networks there is a list."""
    for method in networks[0]:
        each = [network[method] for network in networks]
        for score in each[0]:
            values = [one[score] for one in each if one[score] == one[score]]
            if values:
                results.add(kind, method, span, score, *mean_se(values))
        wrong = np.array([one["wrong"] for one in each])
        results.add(kind, method, span, "lists", float(np.isfinite(wrong).sum()))
        if np.isfinite(wrong).any():
            results.add(kind, method, span, "worst list", float(np.nanmax(wrong)))
        results.add(kind, method, span, LAST, len(networks))
