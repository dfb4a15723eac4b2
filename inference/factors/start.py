"""Where the fit of a factor model begins: principal components, rotated to be sparse, and the genes of each gene
set."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...models import FactorModel
from ...priors import SpikeSlabLoading, Take
from .alignment import rotates_freely
from .sweep import FactorState, GramRound, Moments, Round

ARRANGE, SETTLE = 30, 5  # rounds of the loadings, then of the scales given them
MIN_OWN = 5  # genes that only this set lists, from which its program can start


def start(rounds: GramRound, num_chains: int) -> FactorState:
    """A state for each chain.

    A labelled factor starts at the first principal component of its set's genes, the free factors at the leading
    components of what those leave, rotated by varimax where the prior is sparse. Chains beyond the first start from
    random weights within the sets and random rotations: if they end elsewhere, R-hat shows it.
    """
    model, prior = rounds.model, rounds.prior
    m, G = rounds.num_factors, rounds.num_genes
    gram = rounds.gram[:G, :G] / rounds.dof
    if rounds.num_covariates:  # what the covariates explain linearly is left to β and Γ
        cross = rounds.zd[:, :G]
        gram = gram - cross.T @ torch.linalg.solve(rounds.zz, cross) / rounds.dof
    # by correlations, whatever the genes' units: else the genes that vary most decide what a set means
    unit = torch.diagonal(gram).clamp_min(1e-12).sqrt()
    gram = gram / unit[:, None] / unit if not rotates_freely(model) else gram
    T = torch.stack([_projection(model, gram, chain) for chain in range(num_chains)])  # (chain, factor, gene)
    T = T if rotates_freely(model) else T / unit
    xd = torch.cat([T, T.new_zeros(num_chains, m, rounds.num_covariates)], dim=2) @ rounds.gram
    xx = xd[..., :G] @ T.mT + 0.05 * rounds.dof * torch.eye(m, dtype=T.dtype, device=T.device)
    variance = (rounds.square / rounds.dof).clamp_min(1e-12)
    like = T.new_zeros(())
    state = FactorState(
        loadings=T.new_zeros(num_chains, G, m + rounds.num_covariates),
        covariance=None,
        log_det=None,
        precision=(2 / variance).expand(num_chains, G),
        gamma=T.new_zeros(num_chains, rounds.num_covariates, m),
        prior=prior.start(num_chains, like),
    )
    if prior.sparse and prior.sources:  # scales as the gene sets have it, before the data speak
        expected = torch.where((prior.probability > 0).any(0), 0.25, 0.01).to(T)
        free = ~torch.tensor(model.labelled, device=T.device)
        expected[free] = 0.1
        scales = prior.update(state.prior, expected.expand(num_chains, m, G), Take(draws=False))
        state = replace(state, prior=scales)
    return rounds.weights(state, Moments(xx, xd, like), Take(draws=False))


def arrange(engine: Round, state: FactorState) -> FactorState:
    """A few rounds of coordinate ascent under a spike-and-slab prior, from which a horseshoe with gene sets starts.

    Factors find their places by the gene sets first. The local scales of a horseshoe adapt to whatever arrangement they
    meet: a program that starts in another's genes stays there.
    """
    prior = engine.gram_round.prior
    if not prior.has_local_scales or not prior.sources:
        return state
    like = state.loadings.new_zeros(())
    plain = engine.under(
        SpikeSlabLoading().bind(engine.model.knowledge, view=prior.view.cpu(), num_views=prior.num_views)
    )
    state = replace(state, prior=plain.gram_round.prior.start(len(state.loadings), like))
    for _ in range(ARRANGE):
        state = plain(state, Take(draws=False))
    m = engine.gram_round.num_factors
    square = state.square(m)
    scales = prior.start(len(state.loadings), like)
    for _ in range(SETTLE):
        scales = prior.update(scales, square, Take(draws=False))
    return replace(state, prior=scales, bound=None)


def _projection(model: FactorModel, gram: Tensor, chain: int) -> Tensor:
    """``(factor, gene)`` T with factors Y Tᵀ of unit variance."""
    labelled = [k for k, has in enumerate(model.labelled) if has]
    free = [k for k, has in enumerate(model.labelled) if not has]
    T = gram.new_zeros(len(model.factors), len(gram))
    listed = (model.knowledge.probability > 0).any(0) if labelled else None
    for k in labelled:
        assert listed is not None, "there are labelled factors"
        own = listed[k] & (
            listed.sum(0) == 1
        )  # genes of several sets speak for the strongest program, not for this one
        genes = torch.nonzero((own if int(own.sum()) >= MIN_OWN else listed[k]).to(gram.device))[:, 0]
        part = gram[genes][:, genes]
        _, vectors = torch.linalg.eigh(part)
        weight = vectors[:, -1]
        if chain:
            weight = weight * (0.25 + 1.5 * torch.rand_like(weight))
        T[k, genes] = weight / (weight @ part @ weight).clamp_min(1e-12).sqrt()
    rest = gram
    if labelled:
        # symmetric decorrelation: programs are independent a priori, and a fit that starts with two alike stays there
        known = T[labelled]
        values, vectors = torch.linalg.eigh(known @ gram @ known.T)
        T[labelled] = vectors @ (values.clamp_min(1e-3).rsqrt()[:, None] * (vectors.T @ known))
        known = T[labelled]
        cross = known @ gram
        inner = cross @ known.T + 1e-6 * torch.eye(len(labelled)).to(gram)
        rest = gram - cross.T @ torch.linalg.solve(inner, cross)
    if free:
        T[free] = _components(rest, len(free), rotate=model.loading_prior.sparse, chain=chain)
    return T


def _components(gram: Tensor, number: int, *, rotate: bool, chain: int) -> Tensor:
    """``(number, gene)`` leading components, each scaled to unit variance of its scores."""
    from scipy.sparse.linalg import eigsh  # here: a tenth of a second to import

    size = len(gram)
    if number < size // 3:
        first = np.random.default_rng(0).standard_normal(size)  # fixed: the same data start at the same place
        values, vectors = eigsh(gram.cpu().numpy(), k=number, which="LA", v0=first)
        found = torch.as_tensor(vectors, dtype=gram.dtype, device=gram.device), torch.as_tensor(values).to(gram)
    else:
        values, vectors = torch.linalg.eigh(gram)
        found = vectors[:, -number:], values[-number:]
    vectors, values = found[0].flip(1), found[1].flip(0).clamp_min(1e-12)
    turn = torch.eye(number, dtype=gram.dtype, device=gram.device)
    if chain:
        turn = torch.linalg.qr(torch.randn(number, number, dtype=gram.dtype, device=gram.device))[0]
    if rotate:
        loadings = vectors * values.sqrt()
        turn = turn @ varimax(loadings @ turn)
    return ((vectors / values.sqrt()) @ turn).T


def varimax(loadings: Tensor, *, iterations: int = 50) -> Tensor:
    """``(factor, factor)`` rotation that makes ``loadings`` (gene, factor) sparse (Kaiser 1958)."""
    m = loadings.shape[1]
    turn = torch.eye(m, dtype=loadings.dtype, device=loadings.device)
    last = 0.0
    for _ in range(iterations):
        L = loadings @ turn
        target = L**3 - L * (L**2).mean(0)
        left, values, right = torch.linalg.svd(loadings.T @ target)
        turn = left @ right
        total = float(values.sum())
        if total < last * (1 + 1e-6):
            break
        last = total
    return turn
