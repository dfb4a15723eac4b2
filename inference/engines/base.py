"""`Engine`: what every engine does, and says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

from ...models import ExpressionData, Model
from ..draws.moments import Collector
from ..runs.history import History
from ..runs.run import Run

# for each unknown: a mean and a scale, the gradient and two moments of Adam of both, and the draws being made
STATE_ARRAYS = 12


class PartToTime(NamedTuple):
    """An ``engine`` and a ``model`` of ``size`` of the targets; a step of the engine that is planned is as long as
    ``times`` of this one's, on as many targets."""

    engine: "Engine"
    model: Model
    size: int
    times: float


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

    refines: ClassVar[str | None] = None
    """Its own option for the steps of what follows each training, whose course the checks see; None: no training."""

    @classmethod
    def asked(cls, chains: int | None, draws: int | None) -> dict[str, Any]:
        """Its own options where so many chains, and draws (or rounds) of each, are asked for, and no more; None: not
        said. Empty where `fit` takes both."""
        names = cls.length_options or ()
        return {name: value for name, value in zip(names, (chains, draws), strict=False) if value is not None}

    @property
    def most_draws(self) -> int | None:
        """Draws (or rounds) of a chain, at the most where their number is not asked for; None where `fit` takes it."""
        return None if self.length_options is None else int(getattr(self, self.length_options[1]))

    @property
    def identity(self) -> str:
        """The options that make its numbers, as text, by which checkpoints of one fit are told from another's."""
        return repr(self)

    @property
    def why_not(self) -> str | None:
        """Why it is not calibrated as it is set, where its class alone does not say (`choice.EngineRow`)."""
        return None

    quick_start: ClassVar[bool] = False
    """Whether its first step costs no more than any other: nothing is traced or compiled."""
    takes_client: ClassVar[bool] = False
    """Whether the workers of a Dask cluster can take a part of the targets each."""
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

    def parts_to_time(self, model: Model) -> "Sequence[PartToTime]":
        """A smaller and a larger part of the model of which steps are taken to tell the time of one of the whole; empty
        where the first steps of the whole are soon done, as here."""
        return ()

    def seconds_of_draws(self, model: Model, data: ExpressionData | None, run: Run) -> float:
        """Of what follows the steps, from a few of its rounds; 0 where that is soon done, as here."""
        return 0.0

    def num_bytes(self, model: Model, run: Run) -> float:
        """Memory that `run` takes at its peak, beside the model and the data: an estimate before anything is computed.

        Here that of `STATE_ARRAYS` arrays of 32-bit numbers for every unknown in every chain or restart, and of what is
        kept of the draws. An engine that knows better says so.
        """
        number, draws = run.restarts, run.num_draws
        if self.length_options is not None:
            number, draws = (int(getattr(self, name)) for name in self.length_options)
        collector = Collector(model, number, draws, has_inclusion="inclusion" in model.dims)
        return collector.num_bytes + STATE_ARRAYS * 4 * number * collector.num_values

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        """The same with so many chains, sweeps of warm-up and draws; itself, where those three are not its options."""
        return self
