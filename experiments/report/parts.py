"""Parts of report.html that networks and gene programs share: diagnostics, predictions, badges, numbers in words."""

import platform
import re
from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ...inference import Posterior
from ...inference.answers.cells import checked_cells
from ...inference.answers.registry import answers_of
from ...inference.choice import engine_of
from ...inference.draws.edge_table import RECORD
from ...inference.engines.sparse_gibbs import BUT_FOR_TARGETS, OUT_OF_TIME
from ...inference.points import is_point
from ...models import ExpressionData
from .. import figures
from ..remedies import REMEDIES
from .kind import Checked
from .page import Cell, badge, glossary, listing, paragraph, table
from .pictures import panels

LEAST_RECORDS = 4  # of the course of a fit, of which the second half is drawn apart
PACKAGES = ("pyrogrn", "torch", "pyro-ppl", "numpy", "scipy", "anndata", "matplotlib")


def count(number: int, what: str) -> str:
    """``1 edge``, ``1,200 edges``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def half_normal_band(scale: float, level: float) -> tuple[float, float]:
    """The central interval of that probability of a half-normal: what a trust may be before the data."""
    tail = (1 - level) / 2
    low, high = (float(ndtri((1 + at) / 2)) * scale for at in (tail, 1 - tail))
    return low, high


def records(rows: pd.DataFrame) -> list[SimpleNamespace]:
    """Rows with their values as attributes, of any type."""
    return [SimpleNamespace(**{str(k): v for k, v in row.items()}) for row in rows.to_dict("records")]


def probability(value: float) -> str:
    """Three decimals, never rounded to certainty."""
    return "<0.001" if value < 0.001 else ">0.999" if value > 0.999 else f"{value:.3f}"


def percents(lower: float, upper: float) -> str:
    """An interval of shares with as many decimals, up to four, as tell its ends apart.

    Examples
    --------
    >>> percents(0.0991, 0.0994), percents(0.1, 0.2), percents(0.1, 0.1)
    ('9.91% to 9.94%', '10.0% to 20.0%', '10.0%')
    """
    for decimals in (1, 2, 3, 4):
        low, high = f"{lower:.{decimals}%}", f"{upper:.{decimals}%}"
        if low != high:
            return f"{low} to {high}"
    return f"{lower:.1%}"


def _failed(diagnostics: pd.DataFrame | None) -> list[str] | None:
    if diagnostics is None:
        return None
    passed = [_passed(value) for value in diagnostics["passed"]]
    return [str(check) for check, ok in zip(diagnostics["check"], passed, strict=True) if ok is False]


def _passed(value: Any) -> bool | None:
    """A check's outcome, where tables from files hold NaN for "does not apply"."""
    return None if value is None or pd.isna(value) else bool(value)


def trust_badges(
    posterior: Posterior, diagnostics: pd.DataFrame | None, *, tested: bool = True
) -> tuple[list[str] | None, str, str, str]:
    """Names of the failed checks (None: not run), the badges of checks and engine, and what both mean, as the second
    half of a sentence. What was ``tested`` on data from the model alone has no green badge."""
    failed = _failed(diagnostics)
    if failed is None:
        checked = badge("diagnostics not run", None)
        advice = "; the fit was not checked, so this is preliminary"
    elif failed:
        checked = badge(f"{count(len(failed), 'diagnostic')} failed", False)
        advice = f"; but {count(len(failed), 'check')} failed ({', '.join(failed)}): read them before relying on it"
    else:
        checked = badge("diagnostics passed", True)
        advice = "; all checks of the fit passed"
    if is_point(posterior):
        engine = badge(f"engine {posterior.guide}: a point estimate, not calibrated", False)
    elif not posterior.calibrated:
        engine = badge(f"engine {posterior.guide}: not calibrated", False)
        advice += f". The engine ({posterior.guide}) is not calibrated: take the probabilities as a ranking"
    else:
        tried = RECORD in posterior.attributes
        where = "on made targets of these cells" if tried else "on data from the model"
        if engine_of(posterior.guide).learns_on_simulations:
            where = "on simulations like those it was trained on"
        where += "" if tested else " alone"
        engine = badge(f"engine {posterior.guide}: calibrated {where}", True if tested and not failed else None)
    return failed, checked, engine, advice


def diagnostics_section(posterior: Posterior, diagnostics: pd.DataFrame | None) -> list[str]:
    """How the fit ended, the table of checks, and its course."""
    history = posterior.history
    sampler = engine_of(posterior.guide).draws_chains
    kind, runs = ("log-likelihood", "chain") if sampler else ("ELBO", "restart")
    if is_point(posterior):
        kind = "minus the cost"
    reason, _, missed = history.reason.partition("; ")
    ended = {"budget": "ran all its steps", "converged": "converged"}.get(reason, reason)
    if reason.startswith(OUT_OF_TIME):
        drawn = reason.removeprefix(OUT_OF_TIME).removeprefix(": ")
        ended = f"stopped when its time was up, at {'; '.join(filter(None, (drawn, missed)))};"
    elif missed and reason in ("budget", BUT_FOR_TARGETS):
        ended = f"{ended}, and has {missed};"
    took = "less than 0.1" if history.seconds < 0.1 else f"{history.seconds:,.1f}"
    how = "it took" if ended.endswith(";") else "in"
    fit = f"The fit {in_words(ended)} {how} {took} seconds (engine {posterior.guide}, seed {posterior.seed})."
    content = [paragraph(fit)]
    if diagnostics is None:
        content.append(paragraph("Diagnostics were not run: posterior.diagnose(data) runs them."))
    else:
        rows = []
        for row in records(diagnostics):
            passed = _passed(row.passed)
            label = badge({True: "pass", False: "fail", None: "–"}[passed], passed)
            rows.append(
                [
                    str(row.check),
                    _number(row.value),
                    _number(row.threshold),
                    Cell(label),
                    Cell(escape(in_words(str(row.meaning))), "wide"),
                ]
            )
        values = ("value", "threshold")
        content.append(table(("check", *values, "", "what it means"), rows, numeric=values, detail=values))
        content.append(listing(f"{line[0].upper()}{line[1:]}." for line in diagnostics.attrs.get(REMEDIES, ())))
    text = (
        "The chains should lie on top of each other and show no trend in the second half."
        if sampler
        else "The curves should have become flat, and end at about the same height."
    )
    if history.elbo.size and history.elbo.shape[1] >= LEAST_RECORDS:
        trace = figures.fit_trace(history.elbo, history.steps, kind=kind, runs=runs)
        content.append(panels(trace, f"Course of the fit. {text}"))
    else:
        short = "It took too few steps to draw its course." if history.elbo.size else ""
        content.append(paragraph(short or "This engine keeps no record of its course.", "soft"))
    return content


HYPERPARAMETERS = {
    "edge_logit": "the base rate of edges",
    "slab_scale": "the size of effects",
    "spike_ratio": "the width of small effects",
}


def in_words(text: str) -> str:
    """A sentence about hyperparameters with what each is beside its name."""
    return re.sub(r"\b(" + "|".join(HYPERPARAMETERS) + r")\b", lambda m: f"{HYPERPARAMETERS[m[0]]}, {m[0]}", text)


def _number(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return (value or "–").partition(";")[0]  # how the fit ended is said in full above
    number = float(value)
    return "–" if np.isnan(number) else f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def predictions_section(observed: np.ndarray, predictive: np.ndarray) -> list[str]:
    """The posterior predictive check."""
    caption = (
        "Values of the fit, each predicted without itself, but by models that follow every value and by linear ones of "
        "time courses; values that the fit follows are left out. First: how many of them lie inside intervals of 10% "
        "to 90%: on the dashed line the model's noise is right, above it too wide, below it too narrow. Second: flat "
        "means that the model describes the spread of the data; a hump, that it predicts too wide; a bowl, too narrow; "
        "a slope, that it is off."
    )
    return [panels(figures.predictive_check(observed, predictive), caption)]


def notes_on_data(posterior: Posterior, data: ExpressionData | None) -> list[str]:
    """What was recognised, changed and dropped, rows called what they are in this model."""
    notes = dict.fromkeys([*posterior.notes, *([] if data is None else data.notes)])
    return [re.sub(r"^([\d,]+) cells x ", rf"\1 {posterior.model.rows} x ", note) for note in notes]


def made(posterior: Posterior, command: str, details: Mapping[str, str]) -> list[str]:
    """What was run, with what, and on which versions."""
    versions = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    entries = {"model": posterior.model.name, **details, "engine": posterior.guide, "seed": str(posterior.seed)}
    return [f"<pre>{escape(command)}</pre>", glossary({**entries, "versions": versions})]


def checked_values(posterior: Posterior, data: ExpressionData | None) -> Checked:
    """Observed values ``(observation,)`` of the fit and draws ``(draw, observation)`` of what it predicts of them, as
    its checks compare them (`answers.cells.checked_cells`).

    None without data, and where the check is not made: the model has no predictions of single values, or the fit
    follows too many of them.
    """
    if (
        data is None
        or not posterior.draws
        or answers_of(posterior.model).unpredictable(posterior.model, data) is not None
    ):
        return None
    checked = checked_cells(posterior, data)
    observed = checked.cells.observed
    return (observed, checked.cells.draw().reshape(-1, len(observed))) if checked.enough else None
