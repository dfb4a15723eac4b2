"""How many Markov chains, how long, and which of their states are kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chains:
    """``number`` chains of ``num_warmup`` steps and ``num_samples`` kept draws, each the last of ``thin`` steps; as
    long as these are too few to go by, up to ``longest`` times as many draws."""

    number: int
    num_warmup: int
    num_samples: int
    thin: int
    longest: int = 1

    @property
    def total(self) -> int:
        """Steps of each chain, as long as no more are needed."""
        return self.num_warmup + self.num_samples * self.thin

    def keeps(self, step: int) -> bool:
        """Whether the state after ``step`` (counted from 0) is a draw."""
        return step >= self.num_warmup and (step - self.num_warmup) % self.thin == self.thin - 1
