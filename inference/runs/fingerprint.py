"""What a checkpoint belongs to: the model, its data, and the options of the fit."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ...models import Model
from ..draws.description import describe
from ..engines.base import Engine
from ..variational.pyro_optim import described
from .run import Run


def fingerprint_of(model: Model, engine: Engine, run: Run) -> dict[str, Any]:
    """Plain values that are equal where a run would give the same numbers."""
    return {
        "model": model.name,
        "edge_prior": json.dumps(describe(model.edge_prior), sort_keys=True),
        "guide": engine.identity,
        "optimizer": described(run.optimizer),
        "stop": repr(run.stop),
        "seed": run.seed,
        "data": digest_of(model),
        "restarts": run.restarts,
        "num_steps": run.num_steps,
        "batch_size": run.batch_size or 0,
        "num_draws": run.num_draws,
        "threshold": run.threshold,
        "jit": run.jit,
    }


def check_same(resume: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Refuse the checkpoint of another fit.

    Raises
    ------
    ValueError
        What differs.
    """
    then = resume["fingerprint"]
    if not isinstance(then, Mapping):
        raise ValueError(
            "not a checkpoint of a fit, it does not say of which: remove it and run again without resuming"
        )
    if then != fingerprint:
        other = {k: (v, then.get(k)) for k, v in fingerprint.items() if then.get(k) != v}
        raise ValueError(
            f"the checkpoint belongs to another fit (now, then): {other}. Use the same data and options, or start anew"
        )


def digest_of(model: Model) -> str:
    """A short hash of what the model conditions on."""
    digest = hashlib.sha256()
    for name, buffer in sorted(model.named_buffers()):
        digest.update(name.encode())
        digest.update(buffer.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
