"""What to type where checks of a fit failed: the options, with their numbers."""

from typing import Any

import pandas as pd

from ...inference import Posterior
from ...inference.choice import default_length, engine_of
from ...inference.density_check import NAME as EDGE_NUMBER
from ...inference.diagnostics import INTERVALS, RESIDUALS
from ...inference.draws.edge_table import RECORD
from ...inference.misfit_checks import COPIES, LISTS, NON_LINEAR, RESIDUALS_SHARED
from ...inference.training_worlds import KNOWLEDGE
from ...inference.training_worlds import NAME as LIKE_TRAINING
from ...models import ExpressionData
from ...models.data.scale import COUNTS, LEVELS, scale_before

R_HAT = "R-hat of "  # chains, or restarts, that stay apart
OF_LENGTH = (
    *("R-hat of the log-likelihood", "R-hat of the hyperparameters", "R-hat of the edges", "effective draws"),
    *("top edges agree", "inclusion agrees", EDGE_NUMBER),
)
SETTLED, SAME_OPTIMUM, IN_ORDER = "ELBO settled", "restarts find the same optimum", "fit ended in order"
OF_THE_MODEL = (RESIDUALS_SHARED, NON_LINEAR, COPIES)
"""Checks that see what a linear network gets wrong: longer fits change nothing."""
OF_THE_NOISE = (INTERVALS, RESIDUALS)
TRIED = ("linear", "grnular", "glad-tf", "glad")  # methods that `pyrogrn calibrate` takes


def remedies(
    checks: pd.DataFrame,
    posterior: Posterior,
    engine: Any,
    *,
    steps: int | None,
    restarts: int | None,
    budget: float | None = None,
    as_measured: ExpressionData | None = None,
) -> list[str]:
    """Lines for the terminal, each with options to add to the same command; none where all checks passed.

    Parameters
    ----------
    checks
        `Posterior.diagnose`.
    posterior, engine
        The fit, and what made it.
    steps, restarts, budget
        What was asked for, as options of ``infer``; None: the defaults.
    as_measured
        The cells, where nothing was normalised: then logarithms may help.
    """
    failed = [str(name) for name, passed in zip(checks["check"], checks["passed"], strict=True) if passed is False]
    lines = []
    short = [name for name in failed if name in (*OF_LENGTH, SETTLED) or name.startswith(R_HAT)]
    if short:
        lines.append(_longer(short, posterior, engine, steps))
    if SAME_OPTIMUM in failed:
        number = 2 * (restarts or default_length(posterior.model).restarts)
        lines.append(f"to mend it add --restarts {number} ({SAME_OPTIMUM})")
    if IN_ORDER in failed and budget is not None:
        lines.append(f"to mend it add --budget {2 * budget:g} ({IN_ORDER})")
    wrong = [name for name in failed if name in OF_THE_MODEL]
    if NON_LINEAR in wrong and as_measured is not None and scale_before(as_measured).kind in (COUNTS, LEVELS):
        lines.append(f"to mend it add --normalize auto, or give logarithms ({NON_LINEAR})")
        wrong.remove(NON_LINEAR)
    if wrong:
        lines.append(_of_the_model(wrong, posterior))
    noise = [name for name in failed if name in OF_THE_NOISE]
    if noise:
        told = (
            "the noise of the model is not that of these cells; intervals of predicted levels are as wrong as it says"
        )
        lines.append(f"no option mends {', '.join(noise)}: {told}")
    if LISTS in failed:
        lines.append(f"no option mends {LISTS}: take the most probable edges, --top, and no list at a rate")
    if KNOWLEDGE in failed:
        lines.append(f"to mend it leave out --prior, or give others ({KNOWLEDGE})")
    if LIKE_TRAINING in failed:
        method = posterior.guide if posterior.guide in TRIED else "grnular"
        lines.append(
            f"no option mends {LIKE_TRAINING}: --method linear asks nothing of them, or train on others "
            f"(`pyrogrn train {method}`, then --set guide.weights=FILE)"
        )
    known = (*OF_LENGTH, SETTLED, SAME_OPTIMUM, IN_ORDER, *OF_THE_MODEL, *OF_THE_NOISE, LISTS, KNOWLEDGE, LIKE_TRAINING)
    others = [name for name in failed if name not in known and not name.startswith(R_HAT)]
    if others:
        lines.append(f"no option mends {', '.join(others)}: the report says what it means")
    return lines


def _longer(failed: list[str], posterior: Posterior, engine: Any, steps: int | None) -> str:
    named = f"({', '.join(failed)})"
    if failed == [SETTLED] and posterior.model.name == "phoenix":
        return f"to mend it add --set guide.svi_steps={2 * engine.svi_steps} {named}"
    sampler = engine_of(posterior.guide).draws_chains
    usual = engine.num_samples if hasattr(engine, "num_samples") else default_length(posterior.model).num_steps
    text = f"--steps {2 * (steps or usual)}"
    if sampler and hasattr(engine, "num_warmup"):
        text += f" --set guide.num_warmup={2 * engine.num_warmup}"
    return f"to mend it add {text} {named}"


def _of_the_model(failed: list[str], posterior: Posterior) -> str:
    """What these cells have and the model has not: nothing to type, but what is to be known of it."""
    if RECORD in posterior.attributes:
        rest = "what they cost was measured on made targets, and the probabilities are corrected for it"
    elif posterior.model.name in TRIED:
        rest = "`pyrogrn calibrate` with the same options counts what they cost"
    else:
        rest = "read the list as a ranking"
    return f"no option mends {', '.join(failed)}: {rest}"
