"""From what posteriors state to probabilities: the map of the trial beside others, on data sets that choices were made
on.

`posteriors alone` the map without the evidence beside them (`inference.recalibration.evidence`); `and what a gene
loses` with the first kind of it; `isotonic` the mean of the map and of its isotonic regression on made pairs; `less its
error` the map less its standard error, by the jackknife over worlds, in log-odds; `least of kinds` the smallest of
three maps, each learned on worlds of one kind."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from ...inference.recalibration.causes import stated_alike
from ...inference.recalibration.edge_map import EdgeMap
from ...inference.recalibration.evidence import evidence_of
from ...inference.recalibration.trial import KINDS, Stated, TrialOptions, heard_fit, short_fit
from ...inference.recalibration.tuning import linear_network
from ...inference.recalibration.witnesses import witnesses_of
from ...models import ExpressionData
from ...models.simulators import donors_of
from ...models.simulators.semi_synthetic import LEAST_R2
from ..ladder.scoring import Pairs, score
from . import ladder
from .results import Results, mean_se
from .trial_parts import SCORES, plain_pairs
from .trial_subjects import CHOSEN_KINDS, CHOSEN_SEEDS, fresh

SOME = 400.0
MEAN = "mean: "  # starts the tasks of rows over data sets
CHOSEN_ON: Mapping[str, Callable[[Path], ladder.Subject]] = {
    "simulate linear": ladder.SUBJECTS["simulate linear"],
    "sergio_ds1:clean": ladder.SUBJECTS["sergio_ds1:clean"],
    **{f"random_grns train {i}:X": ladder._random("train", i, "X") for i in range(6)},
    **{f"{kind}, {seed}": fresh(kind, seed) for kind in CHOSEN_KINDS for seed in CHOSEN_SEEDS},
}
Learned = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From what posteriors state ``(posterior, pair)``, and the evidence ``(number, pair)``, to probabilities."""


def run(folder: Path, results: Results) -> None:
    """All rows; finished data sets are kept."""
    results.resume()
    for name, make in CHOSEN_ON.items():
        place = ladder.FOLDERS.get(name, "random_grns" if name.startswith("random") else None)
        if place is not None and not (folder / place).is_dir():
            print(f"{name}: no {folder / place}, left out")
        elif any(results.value(name, one, 0, SCORES[0]) is None for one in MAPS):
            add_rows(results, make(folder))
    add_means(results)


def group_of(task: str) -> str:
    """What kind of cells a data set is."""
    if "hidden" in task:
        return "some regulators hidden"
    return "the linear model" if "linear" in task else "SERGIO, clean"


def add_means(results: Results) -> None:
    """Means over data sets, of all and of each kind, with their standard errors; of lists over those that have one."""
    results.rows = [row for row in results.rows if not row["task"].startswith(MEAN)]
    rows = list(results.rows)
    for group in ("all", *dict.fromkeys(group_of(row["task"]) for row in rows)):
        own = [row for row in rows if group in ("all", group_of(row["task"]))]
        number = len({row["task"] for row in own})
        for name in MAPS:
            for what in SCORES:
                of = [row["value"] for row in own if row["method"] == name and row["score"] == what]
                values = [value for value in of if value == value]
                if values:
                    results.add(f"{MEAN}{group} ({number})", name, 0, what, *mean_se(values))


def add_rows(results: Results, subject: ladder.Subject, options: TrialOptions | None = None, seed: int = 0) -> None:
    """Of one data set: every map, in short fits of the real genes."""
    options = options or TrialOptions()
    data = subject.logged
    targets, true = plain_pairs(subject)
    made, real, told = made_and_real(data, targets, options, seed=seed)
    for name, learn in MAPS.items():
        values = score(Pairs.stated(learn(made)(real, told), true, np.full(true.shape, "", dtype=object)))
        for what in SCORES:
            results.add(subject.name, name, seed, what, values[what])


def made_and_real(
    data: ExpressionData, targets: tuple[str, ...], options: TrialOptions, *, seed: int
) -> tuple[Stated, np.ndarray, np.ndarray]:
    """What the posteriors of the trial state of made pairs, and of real ones ``(posterior, pair)``, and the evidence of
    these ``(number, pair)``.

    Raises
    ------
    ValueError
        The regulators explain nothing, or hardly any gene is no regulator: there is no such trial.
    """
    witnesses, donors = witnesses_of(data, seed=seed), donors_of(data, 2 * options.targets, seed=seed)
    if witnesses is None or not (donors.r2 >= LEAST_R2).any():
        raise ValueError("no trial is possible on these cells")
    cells = (None, SOME)
    made, _ = stated_alike(data, donors, {}, linear_network, cells, options, witnesses=witnesses, seed=seed)
    model = linear_network(data, {}, targets)
    every = short_fit(model, None, options, seed=seed)
    heard = heard_fit(model, data, {}, linear_network, witnesses, options, seed=seed)
    some = short_fit(model, SOME, options, seed=seed)
    told = evidence_of(model, data, witnesses if witnesses.well else None)
    return made, np.stack([every.ravel(), heard.ravel(), some.ravel()]), told.reshape(len(told), -1)


def as_it_is(made: Stated) -> Learned:
    """The map of the trial."""
    return EdgeMap.fit(made.probability, made.true, made.evidence)


def posteriors_alone(made: Stated) -> Learned:
    """Without evidence."""
    found = EdgeMap.fit(made.probability, made.true)
    return lambda stated, _: found(stated)


def and_what_is_lost(made: Stated) -> Learned:
    """With what a gene loses without the regulator, and not with the regulator's own noise."""
    found = EdgeMap.fit(made.probability, made.true, made.evidence[:1])
    return lambda stated, told: found(stated, told[:1])


def isotonic(made: Stated) -> Learned:
    """Half of it the isotonic regression of what is true on what it says, between pairs by straight lines."""
    found = EdgeMap.fit(made.probability, made.true, made.evidence)
    said = found(made.probability, made.evidence)
    order = np.argsort(said)
    steps = isotonic_regression(made.true[order].astype(float)).x

    def learned(stated: np.ndarray, told: np.ndarray) -> np.ndarray:
        values = found(stated, told)
        return (values + np.interp(values, said[order], steps)) / 2

    return learned


def less_its_error(made: Stated) -> Learned:
    """The map less its standard error."""
    found, worlds = as_it_is(made), np.unique(made.world)
    without = [as_it_is(made.of(made.world != w)) for w in worlds]
    odds = lambda probability: logit(np.clip(probability, 1e-6, 1 - 1e-6))

    def learned(stated: np.ndarray, told: np.ndarray) -> np.ndarray:
        each = np.stack([odds(one(stated, told)) for one in without])
        error = np.sqrt((len(worlds) - 1) * each.var(0))
        values: np.ndarray = expit(odds(found(stated, told)) - error)
        return values

    return learned


def least_of_kinds(made: Stated) -> Learned:
    """The most careful kind of world decides."""
    kinds = [made.world % KINDS == kind for kind in range(KINDS)]
    each = [as_it_is(made.of(of)) for of in kinds if of.any()]
    return lambda stated, told: np.min([one(stated, told) for one in each], axis=0)


MAPS: Mapping[str, Callable[[Stated], Learned]] = {
    "as it is": as_it_is,
    "posteriors alone": posteriors_alone,
    "and what a gene loses": and_what_is_lost,
    "isotonic": isotonic,
    "less its error": less_its_error,
    "least of kinds": least_of_kinds,
}
