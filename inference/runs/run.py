"""`Run`: what an engine is given besides the model and the data."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pyro.optim import PyroOptim

from ..variational.adam import Adam
from ..variational.stopping import RelativeImprovement, StoppingRule
from .callbacks import Callback
from .steps import Steps, taking_steps

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, eq=False)
class Run:
    """One run of an engine: ``engine.run(model, data, run)`` returns the draws and how it went.

    Parameters
    ----------
    seed
        Of the engine's own generators; `fit` seeds torch's with it too.
    threshold
        δ in units of W, above which a weight counts as an edge where the prior has no inclusion variable.
    callbacks
        Told of every step.
    fingerprint
        What the run is of, kept in its checkpoints (`fingerprint_of`).
    resume
        A checkpoint of the same run, to continue from. Default none: from the start.
    client
        A ``distributed.Client``, of engines that take one (`Engine.takes_client`). Numbers do not depend on it.
    optimizer, stop, num_steps, batch_size, num_draws, restarts, jit
        Of variational fits, as in `fit`, with its defaults; optimisers of Pyro for `PyroGuide` alone.
    draws_given
        Whether somebody has said how many draws; where nobody has, a guide may make fewer of a large model.
    """

    seed: int
    threshold: float
    callbacks: Sequence[Callback] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    resume: Mapping[str, Any] | None = None
    client: "Client | None" = None
    optimizer: Adam | PyroOptim = field(default_factory=Adam)
    stop: StoppingRule = field(default_factory=RelativeImprovement)
    num_steps: int = 3000
    batch_size: int | None = None
    num_draws: int = 500
    draws_given: bool = True
    restarts: int = 4
    jit: bool = True

    def replaced(self, **changes: Any) -> "Run":
        """A copy with other settings."""
        return replace(self, **changes)

    def steps(self, first: int, total: int) -> AbstractContextManager[Steps]:
        """Steps ``first`` to before ``total``, of which the callbacks are told, and which no interrupt cuts in two.

        ::

            with run.steps(first, total) as steps:
                for step in steps:
                    ...
                    steps.tell(step + 1, message, snapshot)
        """
        return taking_steps(self.callbacks, first, total)
