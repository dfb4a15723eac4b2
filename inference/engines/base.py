"""`Engine`: what every engine does, and says of itself."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from ...models import ExpressionData, Model
from ..draws.moments import Collector
from ..runs.history import History
from ..runs.run import Run


class Engine(ABC):
    """A sampler or a variational family, by what others have to know of it. Of an engine that is not known, nothing is
    taken for granted.

    Attributes
    ----------
    name
        As the command line and saved posteriors call it.
    calibrated
        Whether its probabilities can be trusted on a model and prior that allow it (`choice.unearned`).
    """

    name: str = ""
    calibrated: bool = False
    draws_chains: ClassVar[bool] = False
    """Whether the draws are of Markov chains, else of restarts of a fit."""
    learns_on_simulations: ClassVar[bool] = False
    """Whether the probabilities come from simulated cells, and not from the prior of the model."""
    prunes: ClassVar[bool] = False
    """Whether inclusion is the share of draws in which an edge survives pruning, and no probability."""
    point: ClassVar[bool] = False
    """Whether each restart is a single point: its draws have no spread to compare."""
    reads_cells: ClassVar[bool] = False
    """Whether it needs the cells themselves, beside what the model keeps of them."""
    any_optimizer: ClassVar[bool] = False
    """Whether an optimiser of `pyro.optim` may be its ``optimizer``."""
    length_options: ClassVar[tuple[str, str] | None] = None
    """Its own options for the number of chains and the draws (or rounds) of each; None where `fit` takes both, as
    ``restarts`` and ``num_steps``."""

    @property
    def why_not(self) -> str | None:
        """Why it is not calibrated as it is set, where its class alone does not say (`choice.EngineRow`)."""
        return None

    minibatches: ClassVar[bool] = True
    """Whether it can do with a part of the cells at a time, where the model can."""

    @abstractmethod
    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        """Condition ``model`` on what it was made from, or on ``data`` cell by cell; return the draws and how it went.

        Raises
        ------
        ValueError
            A model, prior or data that the engine is not for, with what is.
        """

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        """The same with so many chains, sweeps of warm-up and draws; itself, where those three are not its options."""
        return self
