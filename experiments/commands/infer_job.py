"""What was read for a run of ``pyrogrn infer``, before there is a model."""

from typing import Any, NamedTuple

import pandas as pd
import torch

from ...models import ExpressionData
from .infer_kinds import InferKind


class Job(NamedTuple):
    """The cells, what they are to be conditioned on, and how: ``chosen`` are the options of the model, ``groups`` those
    of ``--set``, ``known`` is the known network."""

    data: ExpressionData
    model_class: Any
    kind: InferKind
    chosen: dict[str, Any]
    groups: dict[str, dict[str, Any]]
    known: pd.DataFrame | None
    device: torch.device | str
