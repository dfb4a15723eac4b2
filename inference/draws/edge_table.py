"""Rows of the edge table, of chosen edges or of all of them in blocks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...models import Model
from .fitted import PosteriorLike
from .intervals import LEVEL, check_level, interval
from .kept_edges import KeptEdges
from .networks import in_context

EDGE_COLUMNS = ("source", "target", "weight", "sd", "lower", "upper", "inclusion", "sign_probability", "lfsr", "prior")
RAW = "inclusion_model"  # attribute of a recalibrated posterior: the inclusion that the model states; and its column
RECORD = "calibration"  # attribute that holds what its trial on made targets has found, `Tuning.to_dict`
BLOCK = 200_000  # edges whose rows are made at once


def edge_rows(
    posterior: PosteriorLike[Model], source: np.ndarray, target: np.ndarray, *, level: float, context: str | None
) -> pd.DataFrame:
    """`EDGE_COLUMNS` of the edges from ``source`` to ``target``, ``(edge,)`` positions on the model's axes."""
    moments, draws = in_context(posterior, context)
    pick = lambda table: table[source, target].astype(np.float64)
    lower, upper = interval_of(posterior, draws, source, target, level)
    positive, negative = pick(moments.positive), pick(moments.negative)
    right = np.maximum(positive, negative)
    knowledge, own = posterior.model.knowledge, posterior.model.own_sources
    confidence = knowledge.probability  # (source, tf, target), which a choice of sources copies
    if own:
        confidence = confidence[[name not in own for name in knowledge.sources]]
    shape = moments.mean.shape
    prior = confidence.amax(0).cpu().numpy() if len(confidence) else np.zeros(shape, dtype=np.float32)
    coords = posterior.coords
    table = pd.DataFrame(
        {
            "source": np.asarray(coords["tf"], dtype=object)[source],
            "target": np.asarray(coords["target"], dtype=object)[target],
            "weight": pick(moments.mean),
            "sd": pick(moments.sd),
            "lower": lower,
            "upper": upper,
            "inclusion": pick(moments.inclusion).clip(0, 1),
            "sign_probability": np.divide(
                right, positive + negative, out=np.full_like(right, 0.5), where=positive + negative > 0
            ),
            "lfsr": (1 - right).clip(0, 1),
            "prior": pick(prior),
        }
    )
    table = table[list(EDGE_COLUMNS)]
    raw = posterior.attributes.get(RAW)  # of a posterior whose inclusion was recalibrated
    if raw is not None:
        table.insert(EDGE_COLUMNS.index("inclusion") + 1, RAW, pick(raw).clip(0, 1))
    return table


def interval_of(
    posterior: PosteriorLike[Model], draws: np.ndarray, source: np.ndarray, target: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """`interval` of ``draws``, and of edges of which every draw was kept (`KeptEdges`) of all of them."""
    lower, upper = interval(draws, source, target, level)
    every = KeptEdges.of(posterior)
    if every is not None:
        kept, column = every.find(source, target, draws.shape[-1])
        first = np.zeros(len(column), dtype=np.int64)
        lower[kept], upper[kept] = interval(every.draws[:, :, None], first, column, level)
    return lower, upper


def blocks_of_edges(
    posterior: PosteriorLike[Model], *, level: float = LEVEL, context: str | None = None
) -> Iterator[pd.DataFrame]:
    """Every edge that may exist, regulator by regulator, in tables of about 200,000 rows: a network of any size."""
    check_level(level)
    allowed = posterior.model.edge_prior.allowed.cpu().numpy()
    at_once = max(1, BLOCK // allowed.shape[1])
    for start in range(0, len(allowed), at_once):
        source, target = np.nonzero(allowed[start : start + at_once])
        if len(source):
            yield edge_rows(posterior, start + source, target, level=level, context=context)
