r"""PHOENIX: trained, pruned, and the posterior of the weights that survive; every chain a training of its own."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ...models import ExpressionData, Model
from ...models.data.transitions import Transitions
from ...models.dynamics.phoenix_layers import BlowUp
from ...models.dynamics.phoenix_network import PhoenixNetwork
from ...models.dynamics.prior_loss import PriorLoss
from ...models.phoenix import Phoenix
from ..draws.moments import Collector
from ..pruning import CNODE, DASH, IMP, BioPruning, HardConcrete, NoPruning, PathReg, Sparsifier, choose_strength
from ..pruning.dash import INITIAL_SCORES, PRIOR_SCALES
from ..runs.callbacks import FitState, Relay
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..runs.saving import restoring
from ..runs.steps import taking_steps
from ..variational.elbo import log_joint
from .fine_tuning import Tuning, fine_tune
from .surviving import SurvivingWeights, parameters_of, rebuilt, seeded
from .training import LearningRate, Trained, train

SPARSIFIERS = ("dash", "imp", "bio", "none", "l0", "c-node", "pathreg", "post-hoc")
# learning rates of the guide, all falling to zero along a cosine: centres of weights and biases, which start where
# training ended; centres of scales, noise, trust and υ, which do not; log sds
RATE, HYPER_RATE, SPREAD_RATE = 1e-3, 0.02, 0.03
FEW, PAIRS, LEAST_STEPS = 4, 16, 6  # below as many trajectories, minibatches are of at most 16 pairs, 6 an epoch
BLOWN = 20  # draws of the guide in a row whose solution is not finite
GRID, FOLDS = (0.1, 0.3, 0.5, 0.8), 3  # values of λ tried, and folds over trajectories


@dataclass(frozen=True)
class Pruned(Sampler):
    r"""Training with a sparsifier, then variational inference on the surviving weights (`Phoenix`).

    For each chain: fresh weights and other held-out trajectories; `train` with the paper's rules; masks and the sizes
    of the trained weights go to the model (`Phoenix.with_reference`); then

    .. math:: q = \prod_{w\,\text{kept}} N(w; m_w, v_w)\ N(\upsilon)\,N(b)\,\mathrm{LogNormal}(\sigma, s, b_k)

    is fitted from the trained weights, all pairs in one solve a step. An edge exists in a draw if its effect |D̃| is
    above the threshold of the fit; edges whose paths are all pruned have probability 0 in that chain, so the average
    over chains also says how much pruning depends on where training began. That is a measure of stability, not a
    posterior over graphs, and the weights are taken as independent: no badge. Nor is the trust of a source what the
    data alone say of it: pruning has gone by the same source already.

    Parameters
    ----------
    sparsifier
        Of ``dash, imp, bio, none, l0, c-node, pathreg, post-hoc``. Default DASH where the model has prior knowledge,
        otherwise iterative magnitude pruning. ``post-hoc`` trains densely, prunes by magnitude to each of nine
        sparsities, trains on, and takes the sparsest as good as the best (`fine_tune`): ten trainings a chain.
    strength
        λ of DASH; ``"auto"`` chooses it by 3-fold cross-validation over trajectories, the largest of 0.1, 0.3, 0.5, 0.8
        within one standard error of the best (12 more trainings). Default 0.3, see `DASH`. P is the largest probability
        of all sources; C the model's coregulation, where it has one.
    epochs, patience, batch_size
        Of `train`; with fewer than four trajectories a batch is of at most 16 pairs, six or more batches an epoch.
    hold_out
        Share of trajectories that decide about learning rate and end of training; of pairs where there are fewer than
        four trajectories. Default a tenth.
    num_chains
        Trainings. Default 2, the least for a comparison; each costs as much as the first.
    num_samples
        Draws by chain. Default 100: an inclusion is known to 0.05, less than trainings differ by.
    svi_steps
        Steps of variational inference, all pairs in each. Default 600; the check "ELBO settled" says where that is too
        few.
    prior_loss
        Share of the training loss that PHOENIX's own loss on prior knowledge gets (`PriorLoss`, C.1), with the signs
        of the sources where they have any. Default 0: none. 0.05 ends the pruning too early, 0.01 does not
        (docs/results/phoenix.md).
    initial_scores, prior_scale
        Of DASH and bio, see `DASH`.
    learning_rate, plateau
        Where the rate of Adam starts (again after every pruning), and after how many epochs without improvement it
        falls by a tenth (B.2.4). Defaults the paper's, 1e-3 and 3.

    Raises
    ------
    ValueError
        Options out of range, a sparsifier that is not known or needs knowledge which the model lacks.
    """

    sparsifier: str | None = None
    strength: float | str = 0.3
    epochs: int = 500
    patience: int = 40
    batch_size: int = 1
    hold_out: float = 0.1
    num_chains: int = 2
    num_samples: int = 100
    svi_steps: int = 600
    prior_loss: float = 0.0
    initial_scores: str = INITIAL_SCORES[0]
    prior_scale: str = PRIOR_SCALES[0]
    learning_rate: float = LearningRate.start
    plateau: int = LearningRate.patience
    calibrated = False
    draws_chains = False  # trainings from scratch
    prunes = True
    refines = "svi_steps"
    name = "pruned"

    def __post_init__(self) -> None:
        least = (self.epochs, self.patience, self.batch_size, self.num_chains, self.num_samples, self.svi_steps)
        if min(least) < 1 or not 0 < self.hold_out < 1:
            raise ValueError(f"{self}: expected at least 1 each, and 0 < hold_out < 1")
        if self.sparsifier is not None and self.sparsifier not in SPARSIFIERS:
            raise ValueError(f"sparsifier {self.sparsifier!r}: choose one of {', '.join(SPARSIFIERS)}")
        if self.initial_scores not in INITIAL_SCORES or self.prior_scale not in PRIOR_SCALES:
            raise ValueError(
                f"initial_scores={self.initial_scores}, prior_scale={self.prior_scale}: expected one of "
                f"{', '.join(INITIAL_SCORES)}, and one of {', '.join(PRIOR_SCALES)}"
            )
        if not 0 <= self.prior_loss < 1:
            raise ValueError(f"prior_loss={self.prior_loss}: expected a share of the loss, from 0 to below 1")
        self._learning()
        if isinstance(self.strength, str) and self.strength != "auto":
            raise ValueError(f"strength {self.strength!r}: expected a number from 0 to 1, or auto")
        if not isinstance(self.strength, str) and not 0 <= self.strength <= 1:
            raise ValueError(f"strength {self.strength}: expected a number from 0 to 1, or auto")

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        if not model.neural_ode:
            raise ValueError(f"this engine trains PHOENIX, not {type(model).__name__}: choose another guide")
        model = cast(Phoenix, model)
        started = time.monotonic()
        report = _Report(run, self)
        sparsifier = self._sparsifier(model, 0.0 if self.strength == "auto" else float(self.strength))  # or refuse now
        self._prior_loss(model, run.seed)
        strength = self._strength(model, run.seed, report) if isinstance(sparsifier, DASH) else 0.0
        try:
            while len(report.chains) < self.num_chains:
                chain = len(report.chains)
                trained = self._train(model, strength, run.seed + chain, report)
                if trained.history.reason.startswith("diverged"):
                    raise BlowUp(trained.history.reason, 0)
                done = self._refine(model, trained, run.seed + chain, report)
                report.stage = None  # before the chain counts as done: an interruption between may only lose work
                report.chains.append(done)
        except BlowUp as error:
            report.write()
            empty = Collector(model, self.num_chains, self.num_samples, has_inclusion=False)
            reason = str(error) if str(error).startswith("diverged") else f"diverged: {error}"
            nothing = np.zeros((self.num_chains, 0)), np.zeros(0), np.zeros(0)
            return empty, History(reason, *nothing, time.monotonic() - started)
        return self._collect(model, report.chains, run.seed, run.threshold, time.monotonic() - started)

    # -- training ----
    def _sparsifier(self, model: Phoenix, strength: float) -> Sparsifier:
        kind = self.sparsifier or ("dash" if model.knowledge.sources else "imp")
        plain = {"imp": IMP, "none": NoPruning, "l0": HardConcrete, "c-node": CNODE, "pathreg": PathReg}
        plain["post-hoc"] = NoPruning  # at first: `_train` prunes what was trained
        C = model.coregulation if model.has_coregulation else None
        if kind in plain:
            if C is not None:
                raise ValueError(f"coregulation is for the sparsifiers dash and bio, not for {kind}: leave it out")
            return plain[kind]()
        if not model.knowledge.sources:
            raise ValueError(f"sparsifier {kind} needs prior knowledge: give `networks=`, or choose imp")
        P = model.square_knowledge().amax(0)
        words: dict[str, Any] = {"initial_scores": self.initial_scores, "prior_scale": self.prior_scale}
        if kind == "bio":
            return BioPruning(P, coregulation=C, **words)
        return DASH(P, coregulation=C, strength=strength, **words)

    def _learning(self) -> LearningRate:
        least = min(LearningRate.least, self.learning_rate)
        return LearningRate(start=self.learning_rate, patience=self.plateau, least=least)

    def _prior_loss(self, model: Phoenix, seed: int) -> PriorLoss | None:
        """PHOENIX's own loss on prior knowledge: the sign of each edge, or a one where no source gives any."""
        if not self.prior_loss:
            return None
        if not model.knowledge.sources:
            raise ValueError("prior_loss needs prior knowledge: give `networks=`, or leave it out")
        wanted = (model.square_knowledge().amax(0) > 0).to(model.zero)  # (gene, gene)
        signs = model.knowledge.sign.sum(0).sign().to(model.zero)  # (tf, gene)
        if bool(signs.any()):
            wanted[model.regulators().to(wanted.device)] = signs
        return PriorLoss(wanted, seed=seed).to(model.zero)

    def _split(self, model: Phoenix, seed: int) -> tuple[Transitions, Transitions]:
        """What is learned from, and what decides."""
        generator = torch.Generator().manual_seed(seed)
        pairs, _ = self._pairs(model)
        present = pairs.trajectory.unique()
        number = max(1, round(self.hold_out * len(present)))
        chosen = torch.randperm(len(present), generator=generator)[:number].to(present.device)
        out = torch.isin(pairs.trajectory, present[chosen])
        return pairs.rows(~out), pairs.rows(out)

    def _pairs(self, model: Phoenix) -> tuple[Transitions, int]:
        """What is split, and how much of it a step takes: trajectories, or pairs where there are few trajectories."""
        pairs = model.transitions
        if len(pairs.trajectory.unique()) >= FEW:
            return pairs, self.batch_size
        return pairs.apart(), max(1, min(PAIRS, pairs.num_pairs // LEAST_STEPS))

    def _fresh(self, model: Phoenix, seed: int) -> PhoenixNetwork:
        hidden, layers = model.depth.hidden, model.depth.layers
        network = PhoenixNetwork(model.genes, hidden=hidden, layers=layers, solver=model.solver, seed=seed)
        for name, mask in network.masks().items():
            mask.copy_(model.get_buffer(f"{name}_mask"))
        return network.to(model.zero)

    def _strength(self, model: Phoenix, seed: int, report: "_Report") -> float:
        """λ; with ``"auto"`` by cross-validation, whose finished folds are kept in the checkpoint."""
        if self.strength != "auto":
            return float(self.strength)
        pairs, _ = self._pairs(model)

        def fit(sparsifier: Sparsifier, training: Transitions, validation: Transitions, fold: int) -> Fold:
            report.asked += 1
            if report.asked <= len(report.folds):
                return Fold(None, *report.folds[report.asked - 1])
            found = self._run(model, training, validation, sparsifier, fold, report)
            if found.history.reason.startswith("diverged"):
                raise BlowUp(found.history.reason, 0)
            report.stage = None
            report.folds.append((found.validation, found.sparsity))
            return Fold(None, found.validation, found.sparsity)

        return choose_strength(
            fit,
            lambda strength: self._sparsifier(model, strength[0]),
            pairs.folds(FOLDS, seed=seed),
            grid=[(value, value) for value in GRID],
            slack=1.0,
            seed=seed,
        ).strength[0]

    def _train(self, model: Phoenix, strength: float, seed: int, report: "_Report") -> Trained[PhoenixNetwork]:
        training, validation = self._split(model, seed)
        trained = self._run(model, training, validation, self._sparsifier(model, strength), seed, report)
        if self.sparsifier != "post-hoc" or trained.history.reason.startswith("diverged"):
            return trained
        how = Tuning(
            self.epochs,
            self._pairs(model)[1],
            self.patience,
            self._learning(),
            self._prior_loss(model, seed),
            self.prior_loss or 0.05,
            seed,
        )
        return fine_tune(trained.network, training, validation, how)[1]  # again, where it is interrupted

    def _run(
        self,
        model: Phoenix,
        training: Transitions,
        validation: Transitions,
        sparsifier: Sparsifier,
        seed: int,
        report: "_Report",
    ) -> Trained[PhoenixNetwork]:
        return train(
            self._fresh(model, seed),
            training,
            validation=validation,
            sparsifier=sparsifier,
            extra_loss=self._prior_loss(model, seed),
            extra_share=self.prior_loss or 0.05,  # without a loss it is not used
            learning=self._learning(),
            num_epochs=self.epochs,
            patience=self.patience,
            batch_size=self._pairs(model)[1],
            seed=seed,
            callbacks=(report,),
            resume=report.stage,
        )

    # -- the posterior of what survives ----
    def _refine(
        self, shared: Phoenix, trained: Trained[PhoenixNetwork], seed: int, report: "_Report"
    ) -> dict[str, Any]:
        """One chain: the guide's parameters, masks, and how it went; plain tensors."""
        network = trained.network
        model = shared.copied()
        model.with_reference(network.masked(), network.masks())
        guide = SurvivingWeights(model, network.masked(), trained.validation)
        slow = [value for name, value in guide.center.items() if name in model.weight_shapes]
        quick = [value for name, value in guide.center.items() if name not in model.weight_shapes]
        groups = zip((slow, quick, list(guide.log_spread.values())), (RATE, HYPER_RATE, SPREAD_RATE), strict=True)
        optimizer = torch.optim.Adam([{"params": values, "lr": rate, "top": rate} for values, rate in groups])
        bound: list[float] = []
        blown = 0  # in a row
        told = (report.refined,)
        device = model.zero.device
        forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with forked, taking_steps(told, 0, self.svi_steps) as steps:
            torch.manual_seed(seed)
            for step in steps:
                for group in optimizer.param_groups:
                    group["lr"] = group["top"] * self._annealed(step)
                values, log_q = guide.draw()
                try:
                    loss = (log_q - log_joint(model, values, None, 1)[0]).sum()
                except BlowUp as error:
                    blown += 1
                    if blown == BLOWN:
                        raise BlowUp(f"diverged at step {step + 1} of the posterior: {error}", error.step) from error
                    bound.append(bound[-1] if bound else float("-inf"))
                    continue  # one draw of many: it says how not to, and the next is another
                blown = 0
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                bound.append(-float(loss.detach()))
                steps.tell(step + 1, f"ELBO {bound[-1]:.5g}")
        state = {name: value.detach().clone() for name, value in guide.state_dict().items()}
        masks = {f"mask.{name}": mask.clone() for name, mask in network.masks().items()}
        if model.knowledge.sources:
            masks |= {f"confidence.{name}": model.get_buffer(f"{name}_confidence") for name in network.masks()}
        facts = {
            "validation": trained.validation,
            "sparsity": trained.sparsity,
            "epochs": float(len(trained.history.train)),
            "best": float(trained.history.best),
        }
        return {"guide": state, "masks": masks, "elbo": bound, "facts": facts}

    def _annealed(self, step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / self.svi_steps))

    def _collect(
        self, model: Phoenix, chains: list[dict[str, Any]], seed: int, threshold: float, seconds: float
    ) -> tuple[Collector, History]:
        collector = Collector(model, len(chains), self.num_samples, has_inclusion=False)
        guides = [rebuilt(model, chain["guide"], chain["masks"]) for chain in chains]
        allowed = model.edge_prior.allowed
        densities: list[Tensor] = []  # lp alone: q has thousands of dimensions, and no importance weight is finite
        with torch.no_grad():
            for draw in range(self.num_samples):
                sites: dict[str, list[Tensor]] = {}
                lp = []
                for chain, (own, guide) in enumerate(guides):
                    values, _ = guide.draw(seeded(seed, chain, draw))
                    if draw % collector.thin == 0:
                        lp.append(_log_joint(own, values))
                    sites.setdefault("W", []).append(own.edges(parameters_of(own, values)))
                    for name in model.dims:
                        if name != "W":
                            sites.setdefault(name, []).append(values[name].reshape(collector.shape[name]))
                stacked = {name: torch.stack(parts) for name, parts in sites.items()}
                collector.add(stacked, ((stacked["W"].abs() > threshold) & allowed).to(stacked["W"]))
                if lp:
                    densities.append(torch.stack(lp).double())
        collector.densities = {"lp": [torch.stack(densities, 1)]}
        for name in chains[0]["guide"]:
            collector.notes[f"phoenix.{name}"] = torch.stack([c["guide"][name] for c in chains]).cpu().numpy()
        for name in chains[0]["masks"]:
            kept_as = torch.bool if name.startswith("mask.") else torch.float32
            collector.notes[f"phoenix.{name}"] = (
                torch.stack([c["masks"][name] for c in chains]).to("cpu", kept_as).numpy()
            )
        for name in chains[0]["facts"]:
            collector.notes[name] = np.array([c["facts"][name] for c in chains])
        table = np.array([c["elbo"] for c in chains])
        steps = np.arange(1, self.svi_steps + 1)
        rate = np.array([RATE * self._annealed(step) for step in range(self.svi_steps)])
        return collector, History("budget", table, steps, rate, seconds)


def _log_joint(model: Phoenix, values: dict[str, Tensor]) -> Tensor:
    """log p(X, z) of one draw; NaN where its solution blows up."""
    try:
        return log_joint(model, values, None, 1)[0].sum()
    except BlowUp:
        return torch.full_like(model.zero, torch.nan)


class Fold(NamedTuple):
    """What `choose_strength` needs of a training."""

    network: None
    validation: float
    sparsity: float


class _Report(Relay):
    """Where a fit in stages is: folds and chains that are done, and the state of the training under way."""

    def __init__(self, run: Run, engine: Pruned) -> None:
        super().__init__(run.callbacks)
        self.fingerprint, self.epochs, resume = run.fingerprint, engine.epochs, run.resume
        with restoring():
            self.folds: list[tuple[float, float]] = list(resume["folds"]) if resume else []
            self.chains: list[dict[str, Any]] = list(resume["chains"]) if resume else []
            self.stage: dict[str, Any] | None = resume["stage"] if resume else None
        self.state_now: Callable[[], dict[str, Any]] = self._state
        self.asked = 0  # fits of the cross-validation that were asked for so far, always in the same order
        self.each = engine.epochs + engine.svi_steps
        trials = len(GRID) * FOLDS if engine.strength == "auto" else 0
        self.total = trials * engine.epochs + engine.num_chains * self.each

    def __call__(self, state: FitState) -> None:
        snapshot, place = state.snapshot, (len(self.folds), len(self.chains))

        def whole() -> dict[str, Any]:
            if (len(self.folds), len(self.chains)) == place:  # later, this training is over and counted
                self.stage = snapshot()
            return self._state()

        self.state_now = whole
        self.tell(FitState(self._before() + state.step, self.total, f"epoch {state.step}: {state.message}", whole))

    def refined(self, state: FitState) -> None:
        """A step of variational inference; resuming repeats these from the end of training."""
        step = self._before() + self.epochs + state.step
        self.tell(FitState(step, self.total, state.message, self.state_now))

    def _before(self) -> int:
        """Steps of all that is done."""
        return len(self.folds) * self.epochs + len(self.chains) * self.each

    def _state(self) -> dict[str, Any]:
        done = {"folds": list(self.folds), "chains": list(self.chains), "stage": self.stage}
        return {"fingerprint": self.fingerprint, "kind": "pruned", "step": len(self.chains), **done}
