"""Which guide goes with which model and prior, from the tables of `inference.choice`: for docs/engines.md."""

from typing import Any

from ...inference import (
    NUTS,
    Alternate,
    Amortised,
    Bagging,
    BlockDescent,
    Blocked,
    ClosedForm,
    Gibbs,
    LowRank,
    MapEstimate,
    MeanField,
    Pruned,
    SparseGibbs,
)
from ...inference.choice import applies
from ...models import MODELS, Model
from ...priors import EdgePrior
from ..methods import priors_of

GUIDES: dict[str, Any] = {
    "svi": MeanField,
    "low-rank": LowRank,
    "map": MapEstimate,
    "blocked": Blocked,
    "amortised": Amortised,
    "sparse": SparseGibbs,
    "gibbs": Gibbs,
    "nuts": NUTS,
    "block-descent": BlockDescent,
    "closed-form": ClosedForm,
    "alternate": Alternate,
    "bagging": Bagging,
    "pruned": Pruned,
}
"""As `--guide` calls them; the first five are Pyro guides too, for SVI by hand."""


def guides_of(model: type[Model], prior: type[EdgePrior]) -> list[str]:
    """Names of what applies to a model with a prior."""
    return [name for name, engine in GUIDES.items() if applies(engine, prior, model)]


def guide_table() -> str:
    """Markdown: a row a model, a column a guide; of each the priors with which it goes, or all."""
    lines = [f"| method | {' | '.join(f'`{name}`' for name in GUIDES)} |", "|---" * (1 + len(GUIDES)) + "|"]
    for model in MODELS:
        priors = priors_of(model)
        cells = []
        for name in GUIDES:
            fit = [prior for prior in priors if name in guides_of(model, prior)]
            cells.append("all" if len(fit) == len(priors) else _listed(priors, fit))
        lines.append(f"| `{model.name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _listed(priors: list[type[EdgePrior]], fit: list[type[EdgePrior]]) -> str:
    """Those that go, or all but those that do not, whichever are fewer."""
    rest = [prior for prior in priors if prior not in fit]
    if not fit:
        return "–"
    if len(rest) < len(fit):
        return "not " + ", ".join(_word(prior) for prior in rest)
    return ", ".join(_word(prior) for prior in fit)


def _word(prior: type[EdgePrior]) -> str:
    name = prior.__name__.removesuffix("Loading")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
