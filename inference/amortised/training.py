r"""Training of amortised guides on streams of fresh simulations."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from ..calibration import expected_calibration_error
from ..runs.orphans import watch_parent
from ..runs.saving import save_whole
from ..runs.workers import startable
from .batches import Batch, Example, make_batch, simulate_example
from .compilation import NetworkPosterior, negative_log_q
from .families import FAMILIES, Family
from .glad import GLAD
from .grnular import GRNULar
from .head import log_size
from .kept_states import fitting, read_kept, read_kept_batch
from .losses import balanced_loss, log_loss
from .network import AmortisedNetwork
from .worlds import simulate_worlds

LOSSES = ("posterior", "paper", "paper-theta")
VALIDATION, TEST = 500_000, 900_000  # where the seeds of simulations that are never trained on begin
SOLVER_HELD_OUT = 3  # examples that choose among the states of the unrolled algorithm
PAIRS_A_STEP = 60_000  # of a step of the head: batches of larger networks take fewer of them

Say = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes
    ----------
    solver_batches, solver_epochs, solver_graphs, solver_rate
        ρ_nn and Λ_nn by Adam: a few graphs suffice (the paper takes 20).
    batches, graphs
        Simulated batches for the head, and networks in each.
    steps, rate
        Of the head, by AdamW on −log q; the rate falls to zero along a cosine.
    check_every, patience
        Validation by log score on `validation` batches of their own; the best state is kept, and that many checks
        without a better one end the training.
    validation, test
        Batches for early stopping, and fresh ones for the scores that are reported.
    worlds
        Fresh data sets whose summaries are kept, to tell cells that are unlike them (`novelty.distance`); no more than
        there are simulated networks to train on.
    """

    solver_batches: int = 8
    solver_epochs: int = 12
    solver_graphs: int = 4
    solver_rate: float = 0.05
    batches: int = 300
    graphs: int = 8
    steps: int = 4000
    rate: float = 3e-3
    check_every: int = 250
    patience: int = 6
    validation: int = 12
    test: int = 16
    worlds: int = 160

    def __post_init__(self) -> None:
        if min(value for value in vars(self).values()) <= 0:
            raise ValueError(f"{self}: expected positive numbers")


def train(
    kind: str,
    *,
    family: Family | str = "broad",
    schedule: Schedule | None = None,
    loss: str = "posterior",
    options: dict[str, Any] | None = None,
    reads: str = "both",
    seed: int = 0,
    workers: int = 1,
    cache: Path | None = None,
    say: Say = lambda text: None,
) -> tuple[AmortisedNetwork, dict[str, Any]]:
    r"""Train one guide from nothing.

    First ρ_nn and Λ_nn end to end; then, those fixed, the head. The head is trained by neural posterior estimation,
    :math:`-\log q(\gamma^* \mid X)` averaged over simulated pairs (`negative_log_q`), whose minimum is the posterior
    under the simulator.

    Parameters
    ----------
    kind
        ``glad``, ``glad-tf`` or ``grnular``.
    family
        A `Family`, or its name.
    schedule, options
        Lengths; options of the unrolled algorithm.
    loss
        Of ρ_nn and Λ_nn: ``posterior``, −log q with :math:`\operatorname{logit} q = a + b\log(|Z| + \epsilon)`, or
        ``paper``, Eq. 16 on Z, or ``paper-theta``, Eq. 16 on Θ, as the paper writes it. The paper's asks that entries
        be 0 or 1, which those of a precision matrix or of standardised weights are not; what each loss gives is in
        section `amortised_losses` of the benchmarks.
    reads
        ``both``; ``unrolled``, Z and two numbers that calibrate it; ``evidence``, the head without Z, where no unrolled
        algorithm is trained or run (`AmortisedNetwork`).
    seed
        Of initial numbers and of all simulations.
    workers
        Processes that simulate.
    cache
        Folder where simulated batches and the state of training are kept: an interrupted run resumes from it.
    say
        Receives progress, one line at a time.

    Returns
    -------
    network, about
        ``about`` holds settings and scores on fresh simulations (`evaluate`).

    Raises
    ------
    ValueError
        An unknown kind, family or loss; options that the unrolled algorithm refuses.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}, expected one of {LOSSES}")
    if isinstance(family, str) and family not in FAMILIES:
        raise ValueError(f"family is {family!r}, expected one of {tuple(FAMILIES)}, or a Family")
    schedule = schedule or Schedule()
    settings = FAMILIES[family] if isinstance(family, str) else family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AmortisedNetwork(kind, unrolled=options, reads=reads)
        if network.unrolled is not None:
            train_solver(network, network.unrolled, settings, schedule, loss, seed, cache, say)
        make = lambda first, count, label: _batches(
            network, settings, schedule, seed, range(first, first + count), workers, cache, say, label
        )
        validation = make(VALIDATION, schedule.validation, "validation")
        batches = make(0, schedule.batches, "training")
        _train_head(network, batches, validation, schedule, seed, cache, say)
        scores = evaluate(network, make(TEST, schedule.test, "test"))
    count = min(schedule.worlds, schedule.batches * schedule.graphs)
    network.worlds = simulate_worlds(network.directed, settings, count, seed, workers)
    network.eval().requires_grad_(False)
    say("fresh simulations: " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
    about = {"family": asdict(settings), "schedule": asdict(schedule), "loss": loss, "seed": seed, "scores": scores}
    return network, about


def train_solver(
    network: AmortisedNetwork,
    unrolled: GLAD | GRNULar,
    family: Family,
    schedule: Schedule,
    kind_of_loss: str,
    seed: int,
    cache: Path | None,
    say: Say,
) -> None:
    """Train ρ_nn and Λ_nn of ``unrolled``, a part of ``network``, in place; arguments as `train`."""
    path = None if cache is None else cache / "solver.pt"
    if path is not None and path.is_file():
        with fitting(path, solver := read_kept(path)):
            unrolled.load_state_dict(solver)
        return
    # the solver learns a rule of three or four numbers an entry: networks of a hundred genes are enough for it
    small = replace(family, genes=(60, 100), cells=(min(300, family.cells[0]), 600))
    examples = [
        simulate_example(network.directed, small, schedule.solver_graphs, seed * 1_000_003 + VALIDATION // 2 + b)
        for b in range(schedule.solver_batches + SOLVER_HELD_OUT)
    ]
    line = torch.nn.Parameter(torch.tensor([0.0, 1.0]))  # a and b (through softplus), thrown away afterwards
    optimizer = torch.optim.Adam([*unrolled.parameters(), line], lr=schedule.solver_rate)
    best, kept = np.inf, unrolled.state_dict()
    starts = [network.start(e.X, e.sources) for e in examples]

    def loss_of(e: Example, start: Any) -> Tensor:
        theta, z = network.solve(e.X, e.sources, e.knowledge, start=start)
        if kind_of_loss != "posterior":
            return balanced_loss(z if kind_of_loss == "paper" else theta, e.truth, e.mask)
        slope = torch.nn.functional.softplus(line[1])
        return log_loss(line[0] + slope * log_size(z), e.truth, e.mask)

    for epoch in range(schedule.solver_epochs + 1):
        if epoch:
            for e, start in zip(examples[: schedule.solver_batches], starts, strict=False):
                optimizer.zero_grad()
                loss_of(e, start).backward()
                torch.nn.utils.clip_grad_norm_(unrolled.parameters(), 1.0)
                optimizer.step()
        with torch.no_grad():
            held = range(schedule.solver_batches, len(examples))
            mean = float(np.mean([float(loss_of(examples[i], starts[i])) for i in held]))
        if mean < best:
            best, kept = mean, {name: value.clone() for name, value in unrolled.state_dict().items()}
        say(f"unrolled algorithm, epoch {epoch}: loss {mean:.4f} on held-out networks")
    unrolled.load_state_dict(kept)
    unrolled.requires_grad_(False)
    if path is not None:
        save_whole(kept, path)


def _batches(
    network: AmortisedNetwork,
    family: Family,
    schedule: Schedule,
    seed: int,
    indices: range,
    workers: int,
    cache: Path | None,
    say: Say,
    label: str,
) -> list[Batch]:
    def path(index: int) -> Path | None:
        return None if cache is None else cache / f"batch_{index:06d}.pt"

    found: dict[int, Batch] = {}
    for index in indices:
        place = path(index)
        if place is not None and place.is_file():
            found[index] = read_kept_batch(place)
    missing = [index for index in indices if index not in found]
    parallel = joblib.Parallel(workers, return_as="generator", initializer=watch_parent, initargs=(os.getpid(),))
    with startable("use one, `workers=` 1"):
        made = parallel(
            joblib.delayed(make_batch)(network, family, schedule.graphs, seed * 1_000_003 + index) for index in missing
        )
    for count, (index, batch) in enumerate(zip(missing, made, strict=True), start=1):
        found[index] = batch
        place = path(index)
        if place is not None:
            save_whole(tuple(batch), place)
        if count % 20 == 0:
            say(f"{label} simulations: {len(found)} of {len(indices)} batches")
    return [found[index] for index in indices]


def _train_head(
    network: AmortisedNetwork,
    batches: list[Batch],
    validation: list[Batch],
    schedule: Schedule,
    seed: int,
    cache: Path | None,
    say: Say,
) -> None:
    head, guide = network.head, NetworkPosterior(network)
    head.standardise([b.evidence for b in batches[:40]], [b.z for b in batches[:40]])
    optimizer = torch.optim.AdamW(head.parameters(), schedule.rate, weight_decay=1e-3)
    cosine = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate, total_steps=schedule.steps)
    best, kept, waited, first = np.inf, _copy(head), 0, 0
    path = None if cache is None else cache / "head.pt"
    if path is not None and path.is_file():
        with fitting(path, state := read_kept(path)):
            head.load_state_dict(state["kept"])  # to see that it fits: it is the one that is used at the end
            head.load_state_dict(state["head"])
            optimizer.load_state_dict(state["optimizer"])
            cosine.load_state_dict(state["cosine"])
            best, kept, waited, first = float(state["best"]), state["kept"], int(state["waited"]), int(state["step"])
            if not 0 < first <= schedule.steps or waited < 0:
                raise ValueError(f"step {first} of {schedule.steps}, {waited} checks waited")
    for step in range(first, schedule.steps):
        if waited >= schedule.patience:  # asked first: a resumed training may have stopped here already
            break
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batch = batches[int(torch.randint(len(batches), (), generator=generator))]
        size = min(len(batch.truth), max(1, PAIRS_A_STEP // batch.truth[0].numel()))
        batch = batch.at(torch.randperm(len(batch.truth), generator=generator)[:size]).float()
        loss = negative_log_q(guide, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        cosine.step()
        if (step + 1) % schedule.check_every == 0 or step + 1 == schedule.steps:
            score = evaluate(network, validation)["log_loss"]
            say(f"head, step {step + 1}: validation {score:.4f} nats a pair")
            best, kept, waited = (score, _copy(head), 0) if score < best else (best, kept, waited + 1)
            if path is not None:
                parts = {"head": head.state_dict(), "optimizer": optimizer.state_dict(), "cosine": cosine.state_dict()}
                save_whole({**parts, "best": best, "kept": kept, "waited": waited, "step": step + 1}, path)
    head.load_state_dict(kept)


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def evaluate(network: AmortisedNetwork, batches: list[Batch]) -> dict[str, float]:
    """Log loss (nats a pair), its standard error over batches, ECE, and means over graphs of average precision and
    AUROC; with prior knowledge and without in the proportion of training."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # here: only training scores itself

    losses, precision, area = [], [], []
    probability, present = [], []
    for logit, truth_, mask in _logits(network, batches):
        losses.append(float(log_loss(logit, truth_, mask)))
        for score, t, m in zip(logit, truth_, mask.bool(), strict=True):
            if 0 < t[m].sum() < len(t[m]):
                precision.append(float(average_precision_score(t[m], score[m])))
                area.append(float(roc_auc_score(t[m], score[m])))
        kept = mask.bool()
        probability.append(torch.sigmoid(logit[kept]).numpy())
        present.append(truth_[kept].numpy())
    p, y = np.concatenate(probability), np.concatenate(present)
    count = len(losses)
    return {
        "log_loss": float(np.mean(losses)),
        "log_loss_se": float(np.std(losses, ddof=1) / count**0.5) if count > 1 else float("nan"),
        "ece": expected_calibration_error(p, y),
        "average_precision": float(np.mean(precision)),
        "auroc": float(np.mean(area)),
        "graphs": float(len(precision)),
    }


def _logits(network: AmortisedNetwork, batches: list[Batch]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    with torch.no_grad():
        for batch in batches:
            for row in range(len(batch.truth)):
                one = batch.at(torch.tensor([row])).float()
                yield network.from_parts(one.evidence, one.z, one.knowledge), one.truth, one.mask
