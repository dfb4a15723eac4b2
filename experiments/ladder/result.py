"""What came of the ladder: tidy rows, summaries over worlds, and the answer in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...inference.calibration import reliability_table
from .plan import CORRECTED, OWN, Plan
from .scoring import ALL, RATES, Pairs, joined, pooled, score

COLUMNS = ("world", "rung", "hidden", "noise", "moved", "response")
RELIABILITY_BINS = 10
PROMISED = 0.1
"""The rate that sentences speak of."""
TOLERANCE = 1.5
"""A list keeps its promise where at most 15% are wrong of what was to be 10%: shares of few edges vary."""

OFF = 0.1
"""Calibration error above which probabilities are not what they say: a tenth, on average over all pairs."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One world that was made, fitted and scored."""

    plan: Plan
    replicate: int
    seed: int
    pairs: Pairs
    seconds: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """What `calibrate` returns.

    Attributes
    ----------
    method
        What was tried.
    trials
        Worlds of rungs 1, 3 and 4.
    exact
        Of rung 2: replicate, seed, and the largest and mean difference of a probability from the exact one.
    settings
        What was asked for.
    notes
        What was left out, and why.
    """

    method: str
    trials: tuple[Trial, ...]
    exact: tuple[Mapping[str, float], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    # -- tables ----
    def plans(self) -> list[Plan]:
        """The worlds, each once."""
        return list(dict.fromkeys(trial.plan for trial in self.trials))

    def of(self, plan: Plan) -> list[Pairs]:
        """Pairs of all replicates of a world."""
        return [trial.pairs for trial in self.trials if trial.plan == plan]

    @property
    def rows(self) -> pd.DataFrame:
        """One row a number: ``world, rung, hidden, noise, moved, response, replicate, seed, score, value``."""
        found: list[dict[str, Any]] = []
        own = {(trial.plan.name, trial.seed) for trial in self.trials}
        for trial in self.trials:
            about = {**_about(trial.plan), "replicate": trial.replicate, "seed": trial.seed}
            for response in _responses(trial.plan):
                for name, value in score(trial.pairs.of(response)).items():
                    found.append({**about, "response": response, "score": name, "value": value})
            if trial.plan.name != CORRECTED or (OWN, trial.seed) not in own:  # else the same fit, counted once
                found.append({**about, "response": ALL, "score": "seconds", "value": trial.seconds})
        for row in self.exact:
            about = {**_about(Plan("enumeration", 2)), "replicate": int(row["replicate"]), "seed": int(row["seed"])}
            for name in ("largest_difference", "mean_difference"):
                found.append({**about, "response": ALL, "score": name, "value": row[name]})
        return pd.DataFrame(found, columns=[*COLUMNS, "replicate", "seed", "score", "value"])

    def summary(self) -> pd.DataFrame:
        """Pooled over replicates: ``world, rung, hidden, noise, moved, response, score, value, se`` (`pooled`)."""
        found: list[dict[str, Any]] = []
        for plan in self.plans():
            for response in _responses(plan):
                scores = pooled([part.of(response) for part in self.of(plan)])
                about = {**_about(plan), "response": response}
                found += [{**about, "score": name, "value": v, "se": se} for name, (v, se) in scores.items()]
        if self.exact:
            about = {**_about(Plan("enumeration", 2)), "response": ALL}
            for name in ("largest_difference", "mean_difference"):
                values = np.array([row[name] for row in self.exact])
                error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
                found.append({**about, "score": name, "value": float(values.mean()), "se": error})
        return pd.DataFrame(found, columns=[*COLUMNS, "score", "value", "se"])

    def reliability(self) -> pd.DataFrame:
        """`reliability_table` of each world, its replicates together."""
        tables = []
        for plan in self.plans():
            pairs = joined(self.of(plan))
            table = reliability_table(pairs.probability, pairs.true, num_bins=RELIABILITY_BINS)
            tables.append(table.assign(world=plan.name, rung=plan.rung))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def value(self, plan: Plan, name: str) -> float:
        """A pooled score of a world."""
        return pooled(self.of(plan))[name][0]

    # -- in words ----
    @property
    def kept(self) -> bool | None:
        """Whether, in every world of rungs 3 and 4, of what is listed for 10% wrong at most 15% are; None where nothing
        is listed anywhere."""
        shares = [self.value(plan, f"wrong_{PROMISED:g}") for plan in self.plans() if plan.rung > 2]
        known = [share for share in shares if share == share]
        return all(share <= TOLERANCE * PROMISED for share in known) if known else None

    def off(self) -> dict[str, float]:
        """Calibration error of the worlds in which it is above `OFF`, by their names."""
        errors = {plan.name: self.value(plan, "ece") for plan in self.plans()}
        return {name: error for name, error in errors.items() if error > OFF}

    def headline(self) -> str:
        """One or two sentences."""
        last = [plan for plan in self.plans() if plan.kind is not None]
        if not last:
            return _first_rungs(self)
        easy = next((plan for plan in last if plan.rung == 3), None)
        hard = self._worst([plan for plan in last if plan is not easy])
        begins = f"On cells like yours, of 100 edges that {self.method} lists at {PROMISED:.0%} expected error, "
        told = [self._told(plan) for plan in (easy, hard) if plan is not None]
        others = len(last) - (easy is not None)
        between = f", and in the worst of the {others} harder worlds " if others > 1 else ", and "
        return begins + between.join(told) + ". " + self._power(easy or last[0], hard)

    def _worst(self, plans: Sequence[Plan]) -> Plan | None:
        """In which most of what is listed is wrong; the last, where nothing is listed in any of them."""
        wrong = [self.value(plan, f"wrong_{PROMISED:g}") for plan in plans]
        return (
            max(zip(wrong, plans, strict=True), key=lambda one: -1.0 if one[0] != one[0] else one[0])[1]
            if any(share == share for share in wrong)
            else next(reversed(plans), None)
        )

    def _told(self, plan: Plan) -> str:
        share, error = pooled(self.of(plan))[f"wrong_{PROMISED:g}"]
        if share != share:
            return f"there are none to be wrong {_when(plan)}: no edge is listed"
        about = "" if error != error else f" (± {100 * error:.0f})" if error >= 0.005 else " (± less than 1)"
        return f"about {100 * share:.0f}{about} would be wrong {_when(plan)}"

    def _power(self, plan: Plan, hard: Plan | None) -> str:
        found = [self.value(p, f"power_{PROMISED:g}") for p in ((plan, hard) if hard is not None else (plan,)) if p]
        shares = " and ".join(f"{share:.0%}" for share in found)
        return f"Such lists hold {shares} of the true edges."


OF_OWN = "on data from its own model the calibration error is"


def _first_rungs(result: Calibration) -> str:
    told = []
    for plan in result.plans():
        what = "corrected by the trial of `infer` it is" if plan.name == CORRECTED else OF_OWN
        told.append(f"{what} {result.value(plan, 'ece'):.3f}")
    if result.exact:
        largest = max(row["largest_difference"] for row in result.exact)
        told.append(f"of five regulators its probabilities are within {largest:.3f} of the exact ones")
    return f"Method {result.method}: " + (", and ".join(told) if told else "no world was made") + "."


def _when(plan: Plan) -> str:
    """In which world, as a clause."""
    assert plan.kind is not None
    hidden = plan.kind.hidden
    if not hidden:
        causes = "when every cause is among your regulators"
    else:
        causes = f"when {'half' if hidden == 0.5 else f'{hidden:.0%}'} of the causes are not measured"
    noise = " and genes vary as yours do" if plan.kind.noise != "gaussian" else " and noise is Gaussian"
    moved = "" if not plan.moved else f", with {plan.moved:.0%} of the prior's edges at random places"
    return causes + (noise if plan.rung > 3 else "") + moved


def _about(plan: Plan) -> dict[str, Any]:
    nothing = float("nan")
    kind, moved = plan.kind, nothing if plan.moved is None else plan.moved
    return {
        "world": plan.name,
        "rung": plan.rung,
        "hidden": nothing if kind is None else kind.hidden,
        "noise": "" if kind is None else kind.noise,
        "moved": moved,
    }


def _responses(plan: Plan) -> tuple[str, ...]:
    return (ALL,) if plan.kind is None else (ALL, *plan.kind.responses)


__all__ = ["RATES", "Calibration", "Trial"]
