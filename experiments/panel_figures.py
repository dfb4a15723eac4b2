"""The four figures of a fitted perturbation panel, as the FactorBox draft has them: fit and scaling, contexts, graph,
flux."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..inference import Posterior
from ..inference.answers.flux import flux_table
from ..inference.choice import engine_of
from ..inference.draws.intervals import LEVEL
from ..inference.points import is_point
from .alternation_speed import MOST_GENES, sizes_for, time_alternation
from .figures import network_picture
from .figures.panel_fit import context_weights, fit_and_scaling
from .figures.panels import plot_outcomes

MOST_LIKELY = 0.5  # probability above which an edge is in the graph
NAMES = ("figure1_fit", "figure2_contexts", "figure3_graph", "figure4_flux")


@dataclass(frozen=True)
class PanelFigures:
    """``figures`` and ``tables`` by name of their files, ``captions`` by figure, and why figures were ``left_out``."""

    figures: dict[str, Figure] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The captions as Markdown, a paragraph each."""
        said = {name: f"**Figure {name[6]}.** {words}" for name, words in self.captions.items()}
        said |= {name: f"Figure {name[6]} is left out: {why}." for name, why in self.left_out.items()}
        return "\n\n".join(said[name] for name in sorted(said)) + "\n"


def panel_figures(
    posterior: Posterior, *, context: str | None = None, edges: int = 60, top: int = 25, draws: int = 20
) -> PanelFigures:
    """Draw the figures of the FactorBox draft from a fit.

    Parameters
    ----------
    posterior
        Of `FactorBox`.
    context
        Of the flux, where there are several. Default the first.
    edges
        In the graph, at the most. Default 60, which can still be read.
    top
        Sources and outcomes of the flux. Default 25, as of `plot_flux`.
    draws
        Posterior draws of the flux. Default 20, as of `flux_table`.

    Raises
    ------
    ValueError
        A context that the fit does not have, and numbers below 1 (draws: 2).
    """
    if min(edges, top) < 1 or draws < 2:
        raise ValueError(f"edges={edges}, top={top}, draws={draws}: expected at least 1, 1 and 2")
    contexts = list(posterior.coords["context"])
    if context is not None and context not in contexts:
        raise ValueError(f"no context {context!r}: the fit has {contexts}")
    made = PanelFigures()
    _fit(made, posterior)
    _contexts(made, posterior)
    _graph(made, posterior, edges)
    _flux(made, posterior, context or contexts[0], several=len(contexts) > 1, top=top, draws=draws)
    return made


def _fit(made: PanelFigures, posterior: Posterior) -> None:
    history, genes = posterior.history, len(posterior.model.genes)
    engine = engine_of(posterior.guide)
    timings = pd.DataFrame(time_alternation(sizes_for(genes)))
    if engine.point:
        record, watched = -history.elbo, "cost"
    else:
        record, watched = history.elbo, "log-likelihood" if engine.draws_chains else "evidence lower bound"
    largest = timings.iloc[-1]
    caption = (
        f"The fit ({posterior.guide}, {genes:,} genes, {len(posterior.coords['context'])} context(s)): {watched} by "
        "iteration. Right: seconds of an iteration of alternating least squares, and until the first has ended (the "
        "panel is factorised once), timed where this figure was made on panels of random levels in which every gene is "
        f"knocked down once; {largest['genes']:,.0f} genes take {largest['iteration']:.2g} s an iteration"
    )
    caption += f" (panels of more than {MOST_GENES:,} are not made)." if genes > MOST_GENES else "."
    if engine.point:
        caption += " The cost is what the fit makes small: of --guide alternate the squared errors of the levels, and "
        caption += "its penalties."
    else:
        caption += " The cost of the alternation itself is that of a fit by `--guide alternate`."
    made.figures[NAMES[0]] = fit_and_scaling(record, history.steps, watched=watched, timings=timings, genes=genes)
    made.tables["figure1_scaling"] = timings
    made.captions[NAMES[0]] = caption


def _contexts(made: PanelFigures, posterior: Posterior) -> None:
    contexts = list(posterior.coords["context"])
    if len(contexts) < 2:
        made.left_out[NAMES[1]] = "the fit has one context (several files, or --context-key, give each its own network)"
        return
    if not posterior.draws["context_scale"].any():
        made.left_out[NAMES[1]] = "this guide fits one network to all contexts (--guide gibbs gives each its own)"
        return
    model: Any = posterior.model
    mean = posterior.moments["W_context"].mean  # (context, tf, target)
    allowed = model.edge_prior.allowed.cpu().numpy()
    surest = posterior.edges(top=30)
    places = [{name: i for i, name in enumerate(posterior.coords[axis])} for axis in ("tf", "target")]
    rows, columns = (surest[end].map(place).to_numpy() for end, place in zip(("source", "target"), places, strict=True))
    above, below = np.corrcoef(mean[:, allowed]), _responses(model, len(contexts))
    agreement = np.where(np.triu(np.ones_like(above), 1) > 0, above, below)
    np.fill_diagonal(agreement, np.nan)
    made.figures[NAMES[1]] = context_weights(surest, contexts, mean[:, rows, columns].T, agreement)
    upper = np.triu_indices(len(contexts), 1)
    share = _common_share(posterior, allowed)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(share, [tail, 1 - tail])
    point = is_point(posterior)
    what = f"Weights of the {len(surest)} largest" if point else f"Posterior mean weights of the {len(surest)} surest"
    caption = (
        f"{what} edges of the shared network in each of {len(contexts)} "
        "contexts. Right: correlations between contexts, above the diagonal of the weights of all edges (median "
        f"{np.median(above[upper]):.2f}), below it of measured log levels after the same knock-downs, each less its "
        "context's mean"
    )
    measured = below[upper]
    seen = measured[np.isfinite(measured)]
    caption += f" (median {np.median(seen):.2f}). " if len(seen) else " (too few knock-downs to say). "
    between = "" if point else f" ({low:.0%} to {high:.0%})"
    caption += (
        f"Of the squared weights {share.mean():.0%}{between} are common to all contexts. The prior draws contexts "
        "together, so networks agree more than data do by construction, and so does that share: compare the "
        "correlations of the measured responses."
    )
    made.captions[NAMES[1]] = caption


def _responses(model: Any, number: int) -> np.ndarray:
    """``(context, context)`` correlations of log levels after the knock-downs that both have seen, each less its mean
    over these and without the knocked-down gene itself; NaN where fewer than two are common."""
    found = np.full((number, number), np.nan)
    if not len(model.response_logs):
        return found
    logs, seen = model.response_logs.double().cpu().numpy(), model.response_seen.cpu().numpy()
    for a in range(number):
        for b in range(a):
            both = np.flatnonzero(seen[a] & seen[b])
            if len(both) < 2:
                continue
            others = both[:, None] != np.arange(logs.shape[2])
            one, other = ((logs[k][both] - logs[k][both].mean(0))[others] for k in (a, b))
            found[a, b] = found[b, a] = np.corrcoef(one, other)[0, 1]
    return found


def _common_share(posterior: Posterior, allowed: np.ndarray) -> np.ndarray:
    r"""``(draw,)`` :math:`\sum W^2/(\sum W^2+N\omega^2)` over N edges, ω the sd of a context's deviation."""
    W, scale = posterior.draws["W"], posterior.draws["context_scale"]
    square = np.square(W[:, :, allowed], dtype=np.float64).sum(-1)
    return (square / (square + allowed.sum() * scale.astype(np.float64) ** 2)).ravel()


def _graph(made: PanelFigures, posterior: Posterior, count: int) -> None:
    table = posterior.edges(top=count)
    point = is_point(posterior)
    kept = table if point else table[table["inclusion"] > MOST_LIKELY]
    made.figures[NAMES[2]] = network_picture(kept, tfs=set(posterior.coords["tf"]), count=count)
    made.tables[NAMES[2]] = kept
    which = "of largest size" if point else f"with a probability above {MOST_LIKELY:g}, the most probable first"
    made.captions[NAMES[2]] = (
        f"Directed network of {len(kept)} edges {which} (at most {count}). Arrows activate, bars repress; thicker "
        "lines are stronger effects" + ("." if point else ", paler ones less certain.")
    )


def _flux(made: PanelFigures, posterior: Posterior, context: str, *, several: bool, top: int, draws: int) -> None:
    model: Any = posterior.model
    k = list(model.contexts).index(context)
    try:
        table, shares = flux_table(posterior, context=context if several else None, num_draws=draws)
    except ValueError as error:  # no stable steady state: the other figures need none
        made.left_out[NAMES[3]] = str(error)
        return
    held = ~model.held[k].isnan().cpu().numpy()
    rows = set(table["gene"])  # a gene that is no target does not vary, and has none
    perturbed = [gene for gene, one in zip(model.genes, held, strict=True) if one and gene in rows]
    made.figures[NAMES[3]] = plot_outcomes(table, shares, model.genes, perturbed=perturbed, top=top)
    made.tables[NAMES[3]] = table
    most = min(top, len(perturbed))
    caption = (
        "Variance that perturbed genes export to others and import from them at the undisturbed steady state"
        f"{f' in {context}' if several else ''}, of {len(perturbed)} the {most} that export most, and the genes to "
        "which it flows"
    )
    if not is_point(posterior):
        settled = table["settled"].iloc[0]
        caption += f"; {LEVEL:.0%} intervals, over the {settled:.0%} of {draws} draws that have a stationary variance"
    made.captions[NAMES[3]] = caption + "."
