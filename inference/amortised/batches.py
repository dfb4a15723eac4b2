"""Simulated data sets as training sees them: cells with a known network, and what the guide is told of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..runs.threads import one_torch_thread
from .families import Family, stream, truth
from .grnular import not_self
from .knowledge import simulated_knowledge
from .network import AmortisedNetwork


class Batch(NamedTuple):
    """Networks of one size: ``evidence`` (graph, source, gene, channel), ``z`` and ``truth`` (graph, source, gene),
    ``knowledge`` (graph, source, gene, 3), ``mask`` 0 on self-pairs."""

    evidence: Tensor
    z: Tensor
    knowledge: Tensor
    truth: Tensor
    mask: Tensor

    def at(self, rows: Tensor) -> "Batch":
        return Batch(*(part[rows] for part in self))

    def float(self) -> "Batch":
        return Batch(*(part.float() for part in self))


class Example(NamedTuple):
    """Simulated cells ``(graph, cell, gene)`` and what is asked about them."""

    X: Tensor
    sources: Tensor
    knowledge: Tensor
    truth: Tensor
    mask: Tensor


def simulate_example(directed: bool, family: Family, graphs: int, seed: int) -> Example:
    """Cells, candidate sources, corrupted knowledge and true edges; without regulators, edges of either direction
    between all genes."""
    simulation = family.simulate(graphs, seed)
    X = simulation.X.flatten(1, 2).float()
    sources, edges = simulation.kinetics.regulators, truth(simulation)
    generator = torch.Generator().manual_seed(stream(seed, "knowledge"))
    if not directed:
        genes = X.shape[-1]
        either = torch.zeros(graphs, genes, genes)
        either[torch.arange(graphs)[:, None], sources] = edges
        edges = torch.maximum(either, either.mT)
        sources = torch.arange(genes).expand(graphs, genes)
        knowledge = simulated_knowledge(edges.triu(), generator)
        knowledge = torch.where(knowledge[..., 1:2] > 0, knowledge, knowledge.transpose(1, 2))
    else:
        knowledge = simulated_knowledge(edges, generator)
    return Example(X, sources, knowledge, edges, not_self(sources, X.shape[-1]))


def make_batch(network: AmortisedNetwork, family: Family, graphs: int, seed: int) -> Batch:
    """Simulate and reduce to what the head sees; a pure function of its arguments."""
    with one_torch_thread():  # workers share the cores
        example = simulate_example(network.directed, family, graphs, seed)
        pairs = zip(example.X, example.sources, strict=True)
        evidence = torch.stack([network.evidence(X, s, seed=seed) for X, s in pairs])
        with torch.no_grad():
            _, z = network.solve(example.X, example.sources, example.knowledge)
    return Batch(evidence.half(), z, example.knowledge.half(), example.truth.bool(), example.mask.bool())
