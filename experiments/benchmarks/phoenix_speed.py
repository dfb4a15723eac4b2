"""Time of an epoch of PHOENIX: beside a plain loop over pairs, by loops and by matrix products, by number of genes."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint, odeint_adjoint

from ...inference.neural_ode.stacked import Job, train_many
from ...inference.neural_ode.training import train
from ...models.data.transitions import Transitions
from ...models.dynamics.compiled_step import CompiledStep
from ...models.dynamics.fixed_step import FixedStep, StepPlan
from ...models.dynamics.phoenix_layers import derivative, initial_parameters
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss
from .phoenix_courses import Courses
from .phoenix_stacks import POINTS
from .results import Results

TRAJECTORIES = 130  # in an epoch, of four pairs each: SIM350's
PLAIN_TRAJECTORIES = 4  # timed, and scaled to an epoch
# genes: hidden neurons; the paper's, and between them for yeast, of which it has none
HIDDEN = {350: 40, 690: 50, 3551: 120, 11165: 300}
TIMED = {350: 130, 690: 130, 3551: 26, 11165: 6}  # trajectories, scaled to an epoch
STACKS, REPEATS = (4, 12), 3
TIMES = (0.0, 2.0, 3.0, 7.0, 9.0)  # of SIM350
# genes, hidden neurons, networks, courses of each
SOLVES = (
    (350, 40, 1, 1),
    (350, 40, 1, 10),
    (350, 40, 1, 130),
    (350, 40, 15, 1),
    (690, 50, 15, 1),
    (2000, 100, 1, 1),
    (11165, 300, 1, 1),
    (11165, 300, 1, 10),
)


class Rate(torch.nn.Module):
    """The derivative as torchdiffeq wants it."""

    def __init__(self, network: PhoenixNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, g: Tensor) -> Tensor:
        return derivative(self.network.current(), g)


def plain_epoch(network: PhoenixNetwork, data: Transitions, *, adaptive: bool) -> float:
    """Seconds of an epoch in which every pair is a solve of its own and every trajectory a step, as the authors train:
    Dormand and Prince at torchdiffeq's tolerances with the adjoint; otherwise the fixed steps of `RungeKutta`
    with gradients through them."""
    rate = Rate(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)
    batches = list(data.minibatches(1, torch.Generator().manual_seed(0)))[:PLAIN_TRAJECTORIES]
    started = time.perf_counter()
    for batch in batches:
        ends = []
        for pair in range(batch.num_pairs):
            start, gap = batch.start[pair : pair + 1], float(batch.dt[pair])
            if adaptive:
                ends.append(odeint_adjoint(rate, start, torch.tensor([0.0, gap]), method="dopri5")[-1])
            else:
                ends.append(odeint(rate, start, torch.linspace(0, gap, max(1, round(gap)) + 1), method="rk4")[-1])
        optimizer.zero_grad()
        (torch.cat(ends) - batch.stop).square().mean().backward()
        optimizer.step()
    return (time.perf_counter() - started) / len(batches) * len(data.names)


def our_epoch(network: PhoenixNetwork, data: Transitions, batch_size: int = 1) -> float:
    """Seconds of the second epoch of `train`, validation on one trajectory among them."""
    trajectories = len(data.trajectory.unique())
    validation, _ = data.split([data.names[int(data.trajectory[0])]])
    fitted = train(network, data, validation=validation, num_epochs=2, batch_size=batch_size)
    return float(fitted.history.seconds[-1]) * TRAJECTORIES / trajectories


def random_courses(genes: int, trajectories: int) -> Transitions:
    """Values uniform on (0, 1): the time of an epoch does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(trajectories * len(TIMES), genes, generator=generator)
    names = np.repeat([f"t{i}" for i in range(trajectories)], len(TIMES))
    return Transitions.from_arrays(X, TIMES * trajectories, names, genes=[f"G{i}" for i in range(genes)])


def run(folder: Path, results: Results) -> None:
    """All rows, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results.resume_parts()
        results.part("plain", partial(run_plain, folder, results))
        results.part("solves", partial(run_solves, results))
        results.part("stacks", partial(run_stacks, folder, results))
        results.part("sizes", partial(run_sizes, results))
    finally:
        torch.set_num_threads(threads)


def run_plain(folder: Path, results: Results) -> None:
    """SIM350, weights as training begins and after three epochs of it."""
    courses = Courses.read(folder / "sim350", "5%")
    network = courses.network(0)
    network = train(network, courses.training, validation=courses.validation, num_epochs=3).network
    task = "epoch, SIM350, 130 trajectories"
    ours = our_epoch(network, courses.training)
    results.add(task, "train, a step a trajectory", 0, "seconds per epoch", ours)
    results.add(
        task, "train, ten trajectories a step", 0, "seconds per epoch", our_epoch(network, courses.training, 10)
    )
    for adaptive, name in ((True, "plain loop, dopri5 and adjoint"), (False, "plain loop, the same fixed steps")):
        seconds = plain_epoch(network, courses.training, adaptive=adaptive)
        results.add(task, name, 0, "seconds per epoch", seconds)
        results.add(task, name, 0, "times slower than train", seconds / ours)


def run_solves(results: Results) -> None:
    """CPU milliseconds of a solve and its gradient by compiled loops and by products of matrices, interleaved."""
    for genes, hidden, networks, courses in SOLVES:
        generator = torch.Generator().manual_seed(0)
        own = [initial_parameters(genes, hidden, generator=generator) for _ in range(networks)]
        weights = [torch.stack(each).requires_grad_() for each in zip(*own, strict=True)]
        plan = StepPlan.of(torch.tensor(TIMES).diff().repeat(courses), 1.0)
        start = torch.rand(networks, len(plan.order), genes, generator=generator)
        number = max(1, 50_000_000 // (networks * courses * genes * hidden * 24))
        spent: dict[str, list[float]] = {"loops": [], "products of matrices": []}
        for _ in range(REPEATS):
            spent["loops"].append(solve_ms(CompiledStep, plan, start, weights, number))
            spent["products of matrices"].append(solve_ms(FixedStep, plan, start, weights, number))
        task = f"a solve and its gradient: {genes} genes, {networks} networks, {courses} courses each"
        for name, times in spent.items():
            results.add(task, name, 0, "CPU ms", float(np.median(times)))


def solve_ms(way: Any, plan: StepPlan, start: Tensor, weights: list[Tensor], number: int) -> float:
    """CPU milliseconds for each network of a solve and its gradient, the mean of a number of them."""
    way.apply(plan, True, start, None, *weights).sum().backward()  # compiled, and its memory asked for
    began = time.process_time()
    for _ in range(number):
        way.apply(plan, True, start, None, *weights).sum().backward()
    return (time.process_time() - began) / number / len(start) * 1000


def run_stacks(folder: Path, results: Results) -> None:
    """CPU seconds of an epoch of each of several runs, in one stack and alone, with a prior loss too; interleaved."""
    courses = Courses.read(folder / "sim350", "5%")
    loss = PriorLoss(courses.prior(signed=True))
    for extra, name in ((None, ""), (loss, ", prior loss")):
        alone, together = [], []
        for _ in range(REPEATS):
            started = time.process_time()
            network = courses.network(0)
            train(network, courses.training, validation=courses.validation, num_epochs=1, extra_loss=extra)
            alone.append(time.process_time() - started)
            for seeds in STACKS:
                points = None if extra is None else POINTS
                jobs = [
                    Job(courses.network(s), courses.training, courses.validation, extra_loss=extra, extra_points=points)
                    for s in range(seeds)
                ]
                started = time.process_time()
                train_many(jobs, num_epochs=1)
                together.append((seeds, (time.process_time() - started) / seeds))
        task = "epoch of one of several runs"
        results.add(task, f"alone{name}", 0, "CPU seconds", float(np.median(alone)))
        for seeds in STACKS:
            found = float(np.median([seconds for number, seconds in together if number == seeds]))
            results.add(task, f"in a stack of {seeds}{name}", 0, "CPU seconds", found)


def run_sizes(results: Results) -> None:
    """Random data; hidden layers of the paper's sizes, and of 40 neurons for all."""
    for label, sizes in (("hidden as in the paper", HIDDEN), ("40 hidden", dict.fromkeys(HIDDEN, 40))):
        seconds = []
        for genes, hidden in sizes.items():
            data = random_courses(genes, TIMED[genes])
            seconds.append(our_epoch(PhoenixNetwork(data.genes, hidden=hidden), data))
            results.add(f"epoch, {genes} genes", f"train, {label}", 0, "seconds per epoch", seconds[-1])
        slope = np.polyfit(np.log(list(sizes)), np.log(seconds), 1)[0]
        results.add("epoch, exponent in genes", f"train, {label}", 0, "exponent", float(slope))
