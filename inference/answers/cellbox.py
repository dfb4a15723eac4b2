"""CellBox: responses to inputs, single values, and what disturbs its steady state."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch

from ...models import CellBox, Dynamics, ExpressionData
from ...models.data.cell_labels import name_of
from ..draws.fitted import PosteriorLike
from ..draws.intervals import thin_of
from ..draws.moments import aligned
from .base import Answers, Intervention, Request
from .cellbox_ridge import Blend, Prediction, blend, ridge
from .named_genes import check_measured
from .panels import context_of, no_steps
from .results import CellPredictions, Fluctuations
from .tables import outcome_table


class CellBoxAnswers(Answers[CellBox]):
    """Responses to inputs."""

    predicts_held_out = True

    def unpredictable(self, model: CellBox, data: ExpressionData) -> str | None:
        return None

    def cells(
        self, posterior: PosteriorLike[CellBox], data: ExpressionData, number: int, rng: np.random.Generator
    ) -> CellPredictions:
        return of_nodes(posterior, data, number, rng)

    def predict(self, posterior: PosteriorLike[CellBox], intervention: Intervention, request: Request) -> pd.DataFrame:
        no_steps(request)
        if intervention.levels or intervention.knockdown or request.context:
            raise ValueError("CellBox predicts responses to inputs: give inputs, no knock-outs or contexts")
        return predict_inputs(posterior, intervention.inputs, request)

    def fluctuations(self, model: CellBox, context: str | None) -> Callable[[Mapping[str, np.ndarray]], Fluctuations]:
        context_of(model.coords["context"], context)
        return lambda draw: _fluctuations(model, draw)


def predict_inputs(posterior: PosteriorLike[CellBox], doses: Mapping[str, float], request: Request) -> pd.DataFrame:
    """Responses of a CellBox to inputs ``doses`` by node, with the noise of a measurement: those of the network and of
    a ridge regression on the inputs, weighed by how far each may be off (`cellbox_ridge`). Columns as
    `Posterior.predict`, then ``network`` and ``ridge``, what each says alone, and ``network_share``, the weight of the
    network."""
    model = posterior.model
    position = {gene: i for i, gene in enumerate(model.genes)}
    check_measured(doses, model.genes, what="nodes")
    draws = posterior.sample(request.num_draws, seed=request.seed)
    inputs = torch.zeros(1, len(model.genes), dtype=torch.float64)
    for gene, dose in doses.items():
        inputs[0, position[gene]] = dose
    x, outcome = model.predict({name: value[None] for name, value in draws.items()}, inputs)
    states, noise = x.cpu().numpy(), draws["noise"]
    found, own, other = beside_ridge(model, states, noise, inputs)
    error = noise * np.random.default_rng([request.seed, 4]).standard_normal(noise.shape)
    scale = found.sd / np.sqrt(own.variance)
    after = found.mean + scale * (states[:, 0] - own.mean + error)
    table = outcome_table(model.genes, after, np.zeros_like(after), outcome[:, 0].cpu().numpy(), request.level)
    return table.assign(network=own.mean[0], ridge=other.mean[0], network_share=float(found.share[0]))


def beside_ridge(
    model: CellBox, states: np.ndarray, noise: np.ndarray, inputs: torch.Tensor
) -> tuple[Blend, Prediction, Prediction]:
    """One answer of network and ridge (`cellbox_ridge`), and each alone, with the noise of a measurement: ``states``
    (draw, condition, node), NaN where a draw has none, ``noise`` (draw, node), ``inputs`` (condition, node)."""
    known = np.isfinite(states)
    count = known.sum(0)
    total = np.where(known, states, 0.0).sum(0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    spread = np.where(known, (states - mean) ** 2, 0.0).sum(0) / np.maximum(count, 1)
    own = Prediction(mean, spread + np.square(noise.astype(np.float64)).mean(0))
    as_array = lambda value: value.double().cpu().numpy()
    other = ridge(as_array(model.X), as_array(model.inputs), as_array(inputs))
    return blend(own, other), own, other


def of_nodes(
    posterior: PosteriorLike[CellBox], data: ExpressionData, number: int, rng: np.random.Generator
) -> CellPredictions:
    """Random (condition, node) pairs, in units of the data; a draw without a steady state has NaN."""
    model = posterior.model
    draws = aligned(posterior.draws, thin_of(posterior))
    if data.inputs is None:
        raise ValueError("the data have no inputs: give `data.with_inputs(table)`")
    data = data.select_genes(model.genes)
    cells, nodes = data.num_cells, len(model.genes)
    chosen = np.sort(rng.choice(cells * nodes, min(number, cells * nodes), replace=False))
    row, node = np.divmod(chosen, nodes)
    assert data.inputs is not None, "kept by select_genes"
    x, _ = model.predict(draws, data.inputs.double())
    shape = draws["W"].shape[:2]
    mean = x.cpu().numpy().reshape(*shape, cells, nodes)[:, :, row, node]
    sd = draws["noise"][..., node].astype(np.float64)
    labels = [f"{name_of(data.labels, c)}:{model.genes[g]}" for c, g in zip(row.tolist(), node.tolist(), strict=True)]
    return CellPredictions(data.X.double().cpu().numpy()[row, node], mean, sd, labels, row)


def _fluctuations(model: CellBox, draw: Mapping[str, np.ndarray]) -> Fluctuations:
    """The noise of a CellBox is in the levels of its measured nodes: without a drug its node is at rest."""
    sigma = torch.as_tensor(draw["noise"]).double()
    parts = [torch.as_tensor(draw[name]).to(model.constant.device) for name in ("W", "log_gain", "log_decay")]
    found = model.dynamics(parts[0] * model.edge_prior.allowed, parts[1], parts[2])
    W, gain, decay, bias = (v.double().cpu() for v in (found.W, found.gain, found.decay, found.bias))
    free = torch.zeros(len(model.genes), dtype=torch.bool)
    free[model.target_index.cpu()] = True
    start = torch.zeros(1, 1, len(free), dtype=torch.float64)
    return Fluctuations(Dynamics(W, gain, decay, bias, found.envelope), start, free, sigma, in_drive=False)
