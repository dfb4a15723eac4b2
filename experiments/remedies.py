"""What to type where checks of a fit failed: options of the command line or arguments in Python, with their numbers."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pandas as pd

from ..inference import Posterior
from ..inference.answers.registry import answers_of
from ..inference.choice import default_length, engine_for, engine_of
from ..inference.confounding import CONFOUNDERS
from ..inference.density_check import NAME as EDGE_NUMBER
from ..inference.diagnostics import INTERVALS, RESIDUALS
from ..inference.draws.edge_table import RECORD
from ..inference.engines.base import Engine
from ..inference.misfit_checks import COPIES, LISTS, NON_LINEAR, RESIDUALS_SHARED, UNMEASURED
from ..inference.training_worlds import KNOWLEDGE
from ..inference.training_worlds import NAME as LIKE_TRAINING
from ..models import ExpressionData
from ..models.data.scale import COUNTS, LEVELS, scale_before

EFFECTIVE = "effective draws"
R_HAT = "R-hat of "  # chains, or restarts, that stay apart
OF_LENGTH = (
    *("R-hat of the log-likelihood", "R-hat of the hyperparameters", "R-hat of the edges", EFFECTIVE),
    *("top edges agree", "inclusion agrees", EDGE_NUMBER),
)
BETWEEN_TRAININGS = ("R-hat of the edges", "top edges agree", "inclusion agrees", EDGE_NUMBER)
SETTLED, SAME_OPTIMUM, IN_ORDER = "ELBO settled", "restarts find the same optimum", "fit ended in order"
OF_THE_MODEL = (RESIDUALS_SHARED, NON_LINEAR, COPIES)
"""Checks that see what a linear network gets wrong: longer fits change nothing."""
OF_THE_NOISE = (INTERVALS, RESIDUALS)
WIDTH = "with more genes than cells a width of loadings that is fixed decides how large programs are, not the cells"
REMEDIES = "remedies"  # of a table of checks: `remedies`, in its `attrs`
MENDED = "to mend it "  # begins lines that name what to type
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
    in_python: bool = False,
    length: str | None = "steps",
) -> list[str]:
    """Lines for the person who made the fit, each with what to add to the same call; none where all checks passed.

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
    in_python
        Name arguments of the functions of `tl`. Default False: options of ``infer``.
    length
        The option that makes a run longer; None where the method has none. Default ``steps``.
    """
    failed = [str(name) for name, passed in zip(checks["check"], checks["passed"], strict=True) if passed is False]
    say = _InPython(engine) if in_python else _Typed()
    lines = []
    of_edges = lambda name: name.replace("loadings", "edges")  # as checks of programs are called there
    short = [name for name in failed if of_edges(name) in (*OF_LENGTH, SETTLED) or name.startswith(R_HAT)]
    made_by = engine_for(engine)
    walked = [name for name in short if name == EFFECTIVE and "walkers" in posterior.attributes]
    short = [name for name in short if name not in walked]
    if walked:  # the fit had settled: it is the draws from it that are few
        lines.append(f"{MENDED}{say.sampler} ({EFFECTIVE})")
    if short and made_by.refines is not None:
        lines += _of_trainings(short, made_by, say)
    elif short and length == "steps" and _had_converged(posterior, made_by, short):
        lines.append(_of_converged(short, posterior, more_restarts=SAME_OPTIMUM in failed))
    elif short and length is not None:
        lines.append(_mend(say, _longer(posterior, made_by, steps, length), short))
    if SAME_OPTIMUM in failed:
        number = 2 * (restarts or default_length(posterior.model).restarts)
        lines.append(_mend(say, {"restarts": number}, [SAME_OPTIMUM]))
    if IN_ORDER in failed and budget is not None:
        lines.append(_mend(say, {"budget": 2 * budget}, [IN_ORDER]))
    wrong = [name for name in failed if name in OF_THE_MODEL]
    scale = scale_before(as_measured) if NON_LINEAR in wrong and as_measured is not None else None
    if scale is not None and scale.kind in (COUNTS, LEVELS):
        certain = f"{say.logarithms}, or give logarithms"
        give = (
            certain
            if scale.far_from_logarithms
            else f"give logarithms, if values from {scale.low:.3g} to {scale.high:.3g} are none"
        )
        lines.append(f"{MENDED}{give} ({NON_LINEAR})")
        wrong.remove(NON_LINEAR)
    if wrong:
        lines.append(_of_the_model(wrong, posterior, say, tried=length == "steps"))
    noise = [name for name in failed if name in OF_THE_NOISE]
    if INTERVALS in noise and answers_of(posterior.model).prior_decides_size(posterior.model):
        lines.append(f"{MENDED}{say.learned_width} ({INTERVALS}): {WIDTH}")
        noise.remove(INTERVALS)
    if noise:
        told = (
            "the noise of the model is not that of these cells; intervals of predicted levels are as wrong as it says"
        )
        lines.append(f"no option mends {', '.join(noise)}: {told}")
    if LISTS in failed:
        lines.append(f"no option mends {LISTS}: take the most probable edges, {say.top}, and no list at a rate")
    if UNMEASURED in failed:
        lines.append(
            f"no option mends {UNMEASURED}: take out depth, batch or cell cycle, or measure more regulators; lists are "
            "shorter for it"
        )
    if KNOWLEDGE in failed:
        lines.append(f"{MENDED}{say.no_prior}, or give others ({KNOWLEDGE})")
    if LIKE_TRAINING in failed:
        method = posterior.guide if posterior.guide in TRIED else "grnular"
        lines.append(
            f"no option mends {LIKE_TRAINING}: {say.linear} asks nothing of them, or train on others "
            f"(`pyrogrn train {method}`, then {say.weights})"
        )
    own = [name for name in failed if name in CONFOUNDERS]
    if own:
        lines.append(f"{', '.join(own)}: what to do is said where the check is")
    known = [SAME_OPTIMUM, *CONFOUNDERS, *OF_THE_MODEL, *OF_THE_NOISE, LISTS, UNMEASURED, KNOWLEDGE, LIKE_TRAINING]
    known += walked if length is None else short + walked
    known += [] if budget is None else [IN_ORDER]
    others = [name for name in failed if name not in known]
    if others:
        lines.append(f"no option mends {', '.join(others)}: the report says what it means")
    return lines


def _had_converged(posterior: Posterior, engine: Engine, failed: list[str]) -> bool:
    """Whether an optimiser stopped by itself: more steps are then not taken."""
    stopped = posterior.history.reason.startswith("converged")
    return stopped and engine.most_draws is None and SETTLED not in failed


def _of_converged(failed: list[str], posterior: Posterior, *, more_restarts: bool) -> str:
    """More steps are not taken. Whether there are several restarts in what is reported is seen in the draws: an engine
    may keep the best alone. ``more_restarts``: the next line advises them, so that this one rules out steps alone."""
    start = f"{'more steps do not mend' if more_restarts else 'no option mends'} {', '.join(failed)}"
    if next(iter(posterior.draws.values())).shape[0] == 1:
        return f"{start}: the fit had converged"
    return (
        f"{start}: every restart had converged, and they ended in different places; what is reported has them all in it"
    )


def _longer(posterior: Posterior, engine: Engine, steps: int | None, length: str) -> dict[str, float]:
    """Options of a run twice as long as the longest that was allowed."""
    usual = default_length(posterior.model).num_steps if engine.most_draws is None else engine.most_draws
    found: dict[str, float] = {length: 2 * (steps or usual)}
    if engine_of(posterior.guide).draws_chains and hasattr(engine, "num_warmup"):
        found["guide.num_warmup"] = 2 * engine.num_warmup
    return found


def _of_trainings(failed: list[str], engine: Engine, say: "_Typed") -> list[str]:
    """Where draws follow a training: more of them change nothing. What follows it may be longer, and trainings that do
    not agree may be more."""
    apart = [name for name in failed if name in BETWEEN_TRAININGS]
    after = [name for name in failed if name not in apart]
    lines = []
    if after:
        name = str(engine.refines)
        lines.append(_mend(say, {f"guide.{name}": 2 * getattr(engine, name)}, after))
    if apart and engine.length_options is not None:
        lines.append(_mend(say, {"restarts": 2 * getattr(engine, engine.length_options[0])}, apart))
    return lines


def _of_the_model(failed: list[str], posterior: Posterior, say: "_Typed", *, tried: bool) -> str:
    """What these cells have and the model has not: nothing to type, but what is to be known of it. ``tried``: whether
    `pyrogrn calibrate` takes the method, which of CellOracle it does not."""
    if RECORD in posterior.attributes:
        rest = "what this costs was measured on made targets, and the probabilities are corrected for it"
    elif tried and posterior.model.name in TRIED:
        rest = f"{say.calibrate} counts what this costs"
    else:
        rest = "read the list as a ranking"
    return f"no option mends {', '.join(failed)}: {rest}"


def _mend(say: "_Typed", options: dict[str, float], failed: list[str]) -> str:
    return f"{MENDED}{say.options(options)} ({', '.join(failed)})"


# -- words ----
class _Typed:
    """Options of the command line."""

    logarithms = "add --normalize auto"
    top = "as `pyrogrn convert --top 100` and `regulons --top 100` do"
    no_prior = "leave out --prior"
    learned_width = "add --set prior.scale=none"
    linear = "--method linear"
    sampler = "add --guide gibbs"
    weights = "--set guide.weights=FILE"
    calibrate = "`pyrogrn calibrate` with the same options"

    def options(self, options: dict[str, float]) -> str:
        """As they are added to a command: those of an engine by ``--set``."""
        return "add " + " ".join(
            f"--set {name}={_digits(value)}" if "." in name else f"--{name} {_digits(value)}"
            for name, value in options.items()
        )


class _InPython(_Typed):
    """Arguments of the functions of `tl`."""

    logarithms = 'pass normalize="auto"'
    top = "`posterior.edges(top=100)`"
    no_prior = "leave out priors="
    learned_width = "pass loading_prior=pyrogrn.NormalLoading(scale=None)"
    linear = 'method="linear"'
    sampler = "pass guide=pyrogrn.Gibbs()"
    weights = "guide=pyrogrn.Amortised(weights=FILE)"
    calibrate = "`pyrogrn.calibrate(adata, ...)`"

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def options(self, options: dict[str, float]) -> str:
        """As they are added to a call: what an engine has a field for by that engine, whose length it decides."""
        ours = is_dataclass(self.engine) and not isinstance(self.engine, type)
        own = {f.name for f in fields(self.engine) if f.init} if ours else set()
        called = dict(zip(("restarts", "steps"), getattr(self.engine, "length_options", None) or (), strict=False))
        given = {called.get(name, name.removeprefix("guide.")): value for name, value in options.items()}
        changed = {name: value for name, value in given.items() if name in own}
        parts = [f"{name}={_digits(value)}" for name, value in given.items() if name not in own]
        if changed:
            parts.append("guide=" + _written(replace(self.engine, **changed)))
        return "pass " + " and ".join(parts)


def _digits(value: float) -> str:
    """Whole numbers with all their digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _written(engine: Any) -> str:
    """The call that makes an engine, with what is not its default."""
    values = {f.name: (getattr(engine, f.name), f.default) for f in fields(engine) if f.init}
    parts = [f"{name}={value!r}" for name, (value, default) in values.items() if value != default]
    return f"pyrogrn.inference.{type(engine).__name__}({', '.join(parts)})"
