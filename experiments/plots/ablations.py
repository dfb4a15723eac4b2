"""The picture of an ablation: what each source of knowledge is worth."""

import pandas as pd
from matplotlib.axes import Axes

from ..ablation.figures import LABELS, draw_effects, source_effects
from ..ablation.result import AblationResult
from .drawing import drawn


def ablation(result: AblationResult | pd.DataFrame, measure: str | None = None, *, ax: Axes | None = None) -> Axes:
    """What each choice of sources changes against none, with intervals.

    Parameters
    ----------
    result
        Of `ablate`, or its ``summary()``.
    measure
        A difference: ``delta_log_score_bits``, ``delta_average_precision``, ``delta_elpd``. Default all that were
        measured, a panel each.
    ax
        Axes to draw one measure into, the first of those that were measured.

    Raises
    ------
    ValueError
        Another measure.
    """
    summary = result if isinstance(result, pd.DataFrame) else result.summary()
    names = [name for name in LABELS if name.startswith("delta_") and name in summary and summary[name].notna().any()]
    if measure is not None:
        if measure not in names:
            raise ValueError(f"{measure!r} was not measured: there are {', '.join(names) or 'none'}")
        names = [measure]
    first = names[0] if names else "delta_log_score_bits"
    return drawn(ax, lambda: source_effects(summary, names), lambda a: draw_effects(a, summary, first))
