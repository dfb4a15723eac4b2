r"""Training a network on transitions while a sparsifier prunes it."""

import copy
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ...models.dynamics.phoenix_layers import BlowUp, LayeredNetwork, sparsity
from ..pruning import NoPruning, Sparsifier
from ..runs.callbacks import Callback, write_checkpoints
from ..runs.steps import closing, taking_steps


class Batch(Protocol):
    """Data that come in minibatches (`Transitions`)."""

    def minibatches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Any]: ...


class Trainable(LayeredNetwork, Protocol):
    """A layered network with a loss; `PhoenixNetwork`."""

    def loss(self, batch: Any, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        """Mean squared error of a batch, with the gates on the weights."""

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Groups of parameters with their learning rates, for an optimiser."""


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LearningRate:
    """Down by a tenth when three epochs in a row have not improved the validation error, back up after pruning
    (B.2.4).

    Parameters
    ----------
    start
        1e-3, PHOENIX's.
    factor, patience
        0.9 after more than three epochs without improvement.
    tolerance
        What counts as one, in units of the error; 1e-6, as the authors' program.
    least
        4e-5, likewise.

    Raises
    ------
    ValueError
        Rates that are not positive, a factor outside (0, 1).
    """

    start: float = 1e-3
    factor: float = 0.9
    patience: int = 3
    tolerance: float = 1e-6
    least: float = 4e-5

    def __post_init__(self) -> None:
        if not (self.start >= self.least > 0 and 0 < self.factor < 1 and self.patience >= 0):
            raise ValueError(f"{self}: expected start >= least > 0, 0 < factor < 1, patience >= 0")


@dataclass(frozen=True, eq=False)
class TrainingHistory:
    """``reason`` training ended: ``"converged"`` (no improvement for ``patience`` epochs), ``"budget"``, ``"diverged at
    epoch ..."``; one value an epoch of training and validation error, learning rate, sparsity and seconds;
    ``best`` the epoch (from 1) whose model was returned; 0 of a run that ended before its first."""

    reason: str
    train: np.ndarray
    validation: np.ndarray
    rate: np.ndarray
    sparsity: np.ndarray
    seconds: np.ndarray
    best: int


@dataclass(frozen=True, eq=False)
class Trained(Generic[Network]):
    """The ``network`` of the best epoch, its ``validation`` error and ``sparsity``, and the ``history``."""

    network: Network
    validation: float
    sparsity: float
    history: TrainingHistory


class Diverged(ValueError):
    """A network blew up before its first epoch was done. ``fitted`` is what came of it: the network that was given, an
    infinite validation error and a history of no epoch."""

    def __init__(self, fitted: Trained[Any]) -> None:
        super().__init__(f"{fitted.history.reason}. Start from smaller weights, or take smaller steps")
        self.fitted = fitted


def train(
    network: Network,
    data: Batch,
    *,
    validation: Batch,
    sparsifier: Sparsifier | None = None,
    extra_loss: nn.Module | None = None,
    extra_share: float = 0.05,
    learning: LearningRate | None = None,
    num_epochs: int = 500,
    batch_size: int = 1,
    patience: int = 40,
    slack: float = 0.0,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    resume: dict[str, Any] | None = None,
) -> Trained[Network]:
    """Adam on the squared error of predicted transitions, with pruning between epochs.

    Parameters
    ----------
    network
        A `Trainable`; it is copied and stays as it is.
    data, validation
        What to learn from and what decides about the learning rate, the end and the epoch that is returned.
    sparsifier
        Default `NoPruning`.
    extra_loss, extra_share
        A module ``(network, gates) -> loss`` (`PriorLoss`) that gets this share of the loss, the data the rest.
    learning
        Default the paper's.
    num_epochs, patience
        At most 500; training ends after 40 epochs without a better validation error (B.2.5). Epochs before the first
        pruning do not count: with a misleading prior, to regain the error of the dense network can take longer than
        the patience, and the fit would return that network.
    batch_size
        Trajectories in a step. Default 1, as the authors' program: with 4 an epoch takes a third of the time, and the
        error after as many epochs is a third larger, at any learning rate tried (SIM350).
    slack
        Which model is returned: with 0 (the paper) the one of least validation error; otherwise the sparsest one
        within ``slack`` standard errors (over validation trajectories) of it.
    seed
        Of the order of batches and of the sparsifier; the caller's generators are not touched.
    callbacks
        `Progress`, `Checkpoint`; a checkpoint is also written when training is interrupted or diverges.
    resume
        A state from `load_checkpoint`; the run continues to the numbers it would have had.

    Returns
    -------
    Trained
        ``history.reason`` says how it ended. A solution that blows up ends the run in order, with the epoch and the
        solver's step in the reason and the best model so far.

    Raises
    ------
    ValueError
        Options out of range, a checkpoint of another run.
    Diverged
        A network that blows up before its first epoch is done.
    """
    if min(num_epochs, batch_size, patience) < 1 or slack < 0 or not 0 < extra_share < 1:
        raise ValueError(
            f"num_epochs={num_epochs}, batch_size={batch_size}, patience={patience}, slack={slack}, "
            f"extra_share={extra_share}: expected at least 1 each, slack >= 0 and a share between 0 and 1"
        )
    run = Training(
        copy.deepcopy(network),
        data,
        validation,
        copy.deepcopy(sparsifier or NoPruning()),
        extra_loss,
        extra_share,
        learning or LearningRate(),
        batch_size,
        patience,
        slack,
        seed,
    )
    if resume is not None:
        run.restore(resume)
    reason = "budget"
    with closing(callbacks), taking_steps(callbacks, run.epoch, num_epochs) as steps:
        for epoch in steps:
            if run.waited >= patience:
                reason = "converged"
                break
            try:
                run.one_epoch()
            except BlowUp as error:
                reason = f"diverged at epoch {epoch + 1}, step {error.step} of the solver: {error}"
                run.restore(run.last)
                if not run.rows:
                    raise Diverged(run.result(reason)) from error
                write_checkpoints(callbacks)
                break
            message = f"validation {run.rows[-1][1]:.3g}, sparsity {run.rows[-1][3]:.1%}"
            steps.tell(run.epoch, message, run.snapshot)
    return run.result(reason)


class Training:
    """The state of one training run; `train` steps through it, `train_many` through several at once."""

    def __init__(
        self,
        network: Any,
        data: Any,
        validation: Any,
        sparsifier: Sparsifier,
        extra_loss: nn.Module | None,
        extra_share: float,
        learning: LearningRate,
        batch_size: int,
        patience: int,
        slack: float,
        seed: int,
    ) -> None:
        self.network, self.data, self.validation, self.sparsifier = network, data, validation, sparsifier
        self.extra_loss, self.extra_share, self.learning, self.slack = extra_loss, extra_share, learning, slack
        self.batch_size = batch_size
        options = (type(network).__name__, sparsifier.name, repr(learning), batch_size, patience, slack, seed)
        self.fingerprint = {"options": repr((*options, extra_share if extra_loss else 0)), "data": self._digest()}
        sparsifier.start(network, seed=seed)
        groups = network.parameter_groups(learning.start)
        if gates := sparsifier.parameters():
            groups.append({"params": gates, "lr": 10 * learning.start})  # log-odds: units, not hundredths
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.relative = [group["lr"] / learning.start for group in self.optimizer.param_groups]
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch, self.waited, self.plateau, self.level = 0, 0, 0, 0
        self.rate, self.least, self.lowest = learning.start, float("inf"), float("inf")
        self.rows: list[tuple[float, float, float, float, float]] = []
        self.kept: dict[int, dict[str, Any]] = {}  # best state of each level of pruning; with no slack, only the best
        self.last: dict[str, Any] = {}

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for part in (self.data, self.validation):
            for batch in part.minibatches(10**9):
                for name in sorted(vars(batch)):
                    if isinstance(value := vars(batch)[name], Tensor):
                        digest.update(value.cpu().contiguous().numpy().tobytes())
        for value in self.network.state_dict().values():
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    # -- one epoch ----
    def one_epoch(self) -> None:
        """Prune, learn, validate; on `BlowUp` nothing of it is kept (`last`)."""
        started = time.monotonic()
        self.open_epoch()
        losses = [self._step(batch) for batch in self.data.minibatches(self.batch_size, self.generator)]
        self.close_epoch(losses, time.monotonic() - started)

    def open_epoch(self) -> None:
        """Prune and set the learning rate."""
        self.last = self.snapshot(deep=True)
        if self.sparsifier.before_epoch(self.epoch + 1, self.network):
            self.level += 1
            self.rate, self.plateau, self.lowest = self.learning.start, 0, float("inf")
            if self.level == 1:  # a sparse network was asked for: the dense one of the first epochs is no answer
                self.least, self.waited, self.kept = float("inf"), 0, {}
        for group, relative in zip(self.optimizer.param_groups, self.relative, strict=True):
            group["lr"] = self.rate * relative

    def close_epoch(self, losses: Sequence[float], seconds: float) -> None:
        """Validate and keep what is best."""
        with torch.no_grad():
            fixed = self.sparsifier.gates(training=False)
            validation = float(self._whole(self.validation, fixed))
            zeros = sparsity(self._effective(fixed))
        if not np.isfinite(validation):
            raise BlowUp("the validation error is not finite", 0)
        self.epoch += 1
        self.rows.append((float(np.mean(losses)), validation, self.rate, zeros, seconds))
        self._remember(validation, zeros)
        self._slow_down(validation)

    def _step(self, batch: Any) -> float:
        gates = self.sparsifier.gates(training=True)
        fit = self.network.loss(batch, gates)
        loss = fit
        if self.extra_loss is not None:
            loss = (1 - self.extra_share) * fit + self.extra_share * self.extra_loss(self.network, gates)
        penalty = self.sparsifier.penalty(self.network)
        if penalty is not None:
            loss = loss + penalty
        self.optimizer.zero_grad()
        loss.backward()
        if not np.isfinite(value := float(fit.detach())):
            raise BlowUp("the training error is not finite", 0)
        self.optimizer.step()
        return value

    def _whole(self, part: Any, gates: Mapping[str, Tensor] | None) -> Tensor:
        return self.network.loss(next(iter(part.minibatches(10**9))), gates)

    def _effective(self, gates: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        masks = self.network.masks()
        masked = {name: w.detach() * masks[name] for name, w in self.network.weights().items()}
        return masked if gates is None else {name: w * gates[name] for name, w in masked.items()}

    def _remember(self, validation: float, zeros: float) -> None:
        if validation < self.least:
            self.least, self.waited = validation, 0
        else:
            self.waited += 1
        place = self.level if self.slack else 0
        if place not in self.kept or validation < self.kept[place]["validation"]:
            self.kept[place] = {
                "validation": validation,
                "sparsity": zeros,
                "epoch": self.epoch,
                "network": {n: v.clone() for n, v in self.network.state_dict().items()},
                "sparsifier": copy.deepcopy(self.sparsifier.state()),
            }

    def _slow_down(self, validation: float) -> None:
        rule = self.learning
        if validation < self.lowest - rule.tolerance:
            self.lowest, self.plateau = validation, 0
            return
        self.plateau += 1
        if self.plateau > rule.patience:
            self.rate, self.plateau = max(rule.least, self.rate * rule.factor), 0

    # -- states ----
    def snapshot(self, *, deep: bool = False) -> dict[str, Any]:
        """What a checkpoint holds; ``deep`` copies it, to come back to."""
        state = {
            "fingerprint": self.fingerprint,
            "kind": "neural-ode",
            "step": self.epoch,
            "counters": [self.waited, self.plateau, self.level],
            "rates": [self.rate, self.least, self.lowest],
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sparsifier": self.sparsifier.state(),
            "generator": self.generator.get_state(),
            "rows": [list(row) for row in self.rows],
            "kept": self.kept,
        }
        return copy.deepcopy({**state, "kept": {}}) | {"kept": dict(self.kept)} if deep else state

    def restore(self, state: dict[str, Any]) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"the checkpoint belongs to another run (now {self.fingerprint}, then {state['fingerprint']}): use the "
                "same data and options, or start anew"
            )
        self.epoch = state["step"]
        self.waited, self.plateau, self.level = state["counters"]
        self.rate, self.least, self.lowest = state["rates"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sparsifier.restore(state["sparsifier"])
        self.generator.set_state(state["generator"])
        self.rows = [tuple(row) for row in state["rows"]]
        self.kept = dict(state["kept"])

    def result(self, reason: str) -> Trained[Any]:
        if not self.rows:
            none = np.zeros(0)
            history = TrainingHistory(reason, none, none, none, none, none, best=0)
            return Trained(self.network, float("inf"), sparsity(self._effective(None)), history)
        chosen = min(self.kept.values(), key=lambda k: k["validation"])
        if self.slack:
            self._load(chosen)
            limit = chosen["validation"] + self.slack * self._standard_error()
            within = [k for k in self.kept.values() if k["validation"] <= limit]
            chosen = max(within, key=lambda k: k["sparsity"])
        self._load(chosen)
        self.sparsifier.finish(self.network)
        with torch.no_grad():
            masks = self.network.masks()
            for name, weight in self.network.weights().items():
                weight.mul_(masks[name])
            validation = float(self._whole(self.validation, None))
        loss, error, rate, zeros, seconds = np.array(self.rows).T
        history = TrainingHistory(reason, loss, error, rate, zeros, seconds, best=chosen["epoch"])
        return Trained(self.network, validation, sparsity(self._effective(None)), history)

    def _load(self, kept: dict[str, Any]) -> None:
        self.network.load_state_dict(kept["network"])
        self.sparsifier.restore(kept["sparsifier"])

    @torch.no_grad()
    def _standard_error(self) -> float:
        fixed = self.sparsifier.gates(training=False)
        single = self.validation.minibatches(1, torch.Generator())
        errors = [float(self.network.loss(batch, fixed)) for batch in single]
        return float(np.std(errors, ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
