r"""What a panel does when a gene is knocked down that it has not seen knocked down, learned from all its contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta
from pyro.optim.pytorch_optimizers import Adam  # type: ignore[attr-defined]  # made at import
from torch import Tensor

from .data.expression import ExpressionData
from .observation.responses import ResponseNormal

LEAST = 10  # knock-downs of a context to learn from
STEPS, RATE = 80, 0.15  # of the scales: a handful of logarithms, flat within a few percent after 60 steps at this rate


class ResponsePrediction(NamedTuple):
    """``mean`` and ``sd`` ``(query, gene)`` of log levels."""

    mean: Tensor
    sd: Tensor


@dataclass(frozen=True, eq=False)
class Responses:
    """Log levels after single knock-downs: ``logs`` (context, gene knocked down, gene), its own level at the mean of
    the others; ``seen`` (context, gene knocked down). Rows that were not seen are zero."""

    logs: Tensor
    seen: Tensor

    @classmethod
    def from_data(cls, data: ExpressionData) -> "Responses":
        """Single knock-downs of a panel (several of one gene are averaged, combinations and controls left out)."""
        contexts, genes = data.num_contexts, data.num_genes
        logs, count = torch.zeros(contexts, genes, genes), torch.zeros(contexts, genes)
        if data.perturbed is None:
            return cls(logs, count > 0)
        pairs = data.perturbed.cpu()
        single = torch.bincount(pairs[:, 0], minlength=data.num_cells)[pairs[:, 0]] == 1
        cell, gene = pairs[single].T
        codes = torch.zeros(data.num_cells, dtype=torch.long) if data.context is None else data.context.cpu()
        Y = torch.where(data.clamped.cpu(), 1.0, data.X.cpu()).log()  # a gene that is knocked out may be at zero
        logs.index_put_((codes[cell], gene), Y[cell], accumulate=True)
        count.index_put_((codes[cell], gene), torch.ones(len(cell)), accumulate=True)
        seen = count > 0
        logs = logs / count.clamp_min(1)[..., None]
        total = logs.sum(1) - logs.diagonal(dim1=1, dim2=2)
        others = (seen.sum(1, keepdim=True) - seen.to(torch.long)).clamp_min(1)
        logs.diagonal(dim1=1, dim2=2).copy_(torch.where(seen, total / others, 0.0))
        return cls(logs, seen)


class KnockdownResponse:
    r"""Log levels of every gene after a knock-down, as a regression on what is known of the knocked-down gene.

    For context c and knocked-down gene g, with :math:`r_{cg}` the centred log levels,

    .. math:: r_{cg} \sim N\Big(a\,\bar r_{Sg} + \sum_{c'\in S} A_{cc'}^\top r_{c'g} + \sum_{c'} B_{cc'}^\top
              q_{c'g},\ \operatorname{diag}\tau^2\lambda_c\Big), \qquad a\sim N(0,1), \qquad A, B \sim
              N(0, \text{scale of each } c, c'),

    where S are the other contexts that saw the knock-down and :math:`q_{c'g}` is how gene g *responds* to all other
    knock-downs of context c' (the transposed table). A carries a knock-down from contexts that saw it, with the plates
    and off-target effects that they share; a, one number, copies the mean :math:`\bar r_{Sg}` of those contexts gene
    by gene, which is what a knock-down does of its own; B is what remains when no context saw it: genes that respond
    alike do alike. A and B are integrated out, which leaves a Gaussian process over knock-downs with one linear kernel
    by source, the same for all genes up to their variance; a and the scales are sites of a Pyro model, at their
    posterior mode.

    Parameters
    ----------
    responses
        `Responses` of a panel.
    context
        Position of the context to predict.
    sources
        S: positions of the other contexts to carry knock-downs from. It learns from knock-downs that this context and
        all of S saw, and is for those that S saw.

    Raises
    ------
    ValueError
        Fewer than ten knock-downs to learn from.
    """

    def __init__(self, responses: Responses, context: int, sources: Sequence[int] = ()) -> None:
        known = torch.nonzero(responses.seen[[context, *sources]].all(0)).flatten()
        if len(known) < LEAST:
            raise ValueError(
                f"{len(known)} single knock-downs to learn from: expected at least {LEAST} that all contexts saw"
            )
        self.known, self.size = known, responses.logs.shape[1]
        Y = responses.logs[context, known].double()
        self.mean = Y.mean(0)
        Y = Y - self.mean
        self.copied = torch.zeros(self.size, self.size).double()  # (gene knocked down, gene)
        if len(sources):
            self.copied = responses.logs[list(sources)].double().mean(0)
            self.copied = self.copied - self.copied[known].mean(0)
        self.kernels = torch.stack(_kernels(responses, sources))  # (kernel, gene, gene)
        spread = Y.square().mean(0).sqrt().clamp_min(1e-9)
        y, s = Y / spread, self.copied[known] / spread
        self.copies, self.outer = s, ResponseNormal.value_of(y, s)
        self.scales, self.carry = self._fit()
        A = self._covariance(self.scales, known, known)
        self.factor = torch.linalg.cholesky(A + self.scales[-1] * torch.eye(len(known), dtype=A.dtype))
        self.Y = Y - self.carry * self.copied[known]
        self.weights = torch.cholesky_solve(self.Y, self.factor)
        self.variance = (self.Y * self.weights).mean(0)  # (gene,) τ², at its mode given the rest

    def _covariance(self, scales: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return torch.einsum("k,kij->ij", scales[:-1], self.kernels[:, rows[:, None], columns])

    def program(self, kernels: Tensor) -> None:
        """The Pyro model of a and the scales, at unit variance of every gene; the data enter through outer products."""
        sources = len(kernels)
        loc = torch.full((sources + 1,), -3.0, dtype=kernels.dtype)
        scales = pyro.sample("scale", dist.LogNormal(loc, 3.0).to_event(1))
        n = kernels.shape[1]
        A = torch.einsum("k,kij->ij", scales[:-1], kernels) + scales[-1] * torch.eye(n, dtype=kernels.dtype)
        factor = torch.linalg.cholesky(A)
        carry = pyro.sample("carry", dist.Normal(scales.new_zeros(()), 1.0))
        pyro.sample("responses", ResponseNormal(factor, carry, self.copies, validate_args=False), obs=self.outer)

    def _fit(self) -> tuple[Tensor, Tensor]:
        kernels = self.kernels[:, self.known[:, None], self.known]
        start = {"scale": torch.full((len(kernels) + 1,), 0.1).double(), "carry": torch.zeros(()).double()}
        with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]):
            guide = AutoDelta(self.program, init_loc_fn=lambda site: start[site["name"]])
            svi = SVI(self.program, guide, Adam({"lr": RATE}), Trace_ELBO())
            for _ in range(STEPS):
                svi.step(kernels)
            found = guide.median()
            return found["scale"].detach().double(), found["carry"].detach().double()

    def predict(self, genes: Tensor) -> ResponsePrediction:
        """Log levels after knocking down ``genes`` ``(query,)`` (positions) in this context; its own knock-down of
        them, where it was seen, counts as data."""
        cross = self._covariance(self.scales, genes, self.known)
        mean = self.mean + self.carry * self.copied[genes] + cross @ self.weights
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        prior = torch.einsum("k,ki->i", self.scales[:-1], self.kernels[:, genes, genes])
        left = prior - solved.square().sum(0) + self.scales[-1]
        return ResponsePrediction(mean, (left[:, None] * self.variance).sqrt())


def predict_knockdowns(responses: Responses, context: int, genes: Tensor) -> ResponsePrediction:
    """Log levels after knock-downs of ``genes`` ``(query,)`` in a context, each carried from the contexts that saw it.

    One `KnockdownResponse` is fitted for every set of contexts that some of the genes were seen in; of those, contexts
    that share fewer than ten knock-downs with this one teach nothing of how to carry one, and are left out.

    Raises
    ------
    ValueError
        Fewer than ten single knock-downs in this context.
    """
    size = responses.logs.shape[1]
    mean, sd = torch.zeros(len(genes), size).double(), torch.zeros(len(genes), size).double()
    elsewhere = responses.seen.clone()
    elsewhere[context] = False
    patterns, which = torch.unique(elsewhere[:, genes].T, dim=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        sources = _usable(responses.seen, context, torch.nonzero(pattern).flatten().tolist())
        rows = which == i
        mean[rows], sd[rows] = KnockdownResponse(responses, context, sources).predict(genes[rows])
    return ResponsePrediction(mean, sd)


def _usable(seen: Tensor, context: int, sources: list[int]) -> list[int]:
    """The sources without those, poorest first, that leave too few knock-downs that all of them and the context saw."""
    while sources and int(seen[[context, *sources]].all(0).sum()) < LEAST:
        shared = [int((seen[context] & seen[s]).sum()) for s in sources]
        sources = [s for i, s in enumerate(sources) if i != shared.index(min(shared))]
    return sources


def _kernels(responses: Responses, sources: Sequence[int]) -> list[Tensor]:
    """``(gene, gene)`` linear kernels between knock-downs, each of mean diagonal one over the genes it knows."""
    kernels = []
    for k in range(len(responses.logs)):
        rows = responses.seen[k]
        if int(rows.sum()) < 2:  # one row, centred, says nothing
            continue
        centred = torch.where(rows[:, None], responses.logs[k] - responses.logs[k][rows].mean(0), 0.0).double()
        if k in sources:
            kernels.append(_unit(centred @ centred.T))
        kernels.append(_unit(centred.T @ centred))
    return kernels


def _unit(kernel: Tensor) -> Tensor:
    diagonal = kernel.diagonal()
    return kernel / diagonal[diagonal > 0].mean()
