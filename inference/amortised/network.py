r"""GLAD, GLAD-TF and GRNULar as posteriors over graphs: unrolled solution, evidence and head together."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .calibration_of_z import SizeCalibration
from .evidence import CELLS, CHANNELS, pair_evidence
from .glad import GLAD, correlation_matrix
from .grnular import GRNULar
from .head import InclusionHead
from .knowledge import PRIOR_CHANNELS
from .novelty import FEATURES

KINDS = ("glad", "glad-tf", "grnular")
READS = ("both", "unrolled", "evidence")


def _scaled(X: Tensor) -> Tensor:
    """Logarithms of counts; data with negative values are moved above zero first."""
    return (X - X.amin((-2, -1), keepdim=True).clamp_max(0.0)).log1p()


class AmortisedNetwork(nn.Module):
    r"""q(γ | X) = ∏ Bernoulli(γ_tg), one pass for any data set.

    .. math:: X \to (\Theta, Z) \text{ by the unrolled algorithm}, \qquad
              \operatorname{logit} q(\gamma_{tg} = 1 \mid X) = \mathrm{head}(|Z_{tg}|, \text{evidence}_{tg},
              \text{knowledge}_{tg})

    ``glad`` knows no regulators: it sees all genes alike, and its log-odds are those of an edge in either direction.
    ``glad-tf`` and ``grnular`` are told them.

    Parameters
    ----------
    kind
        One of `KINDS`.
    unrolled
        Options of `GLAD` or `GRNULar`.
    width, depth
        Of the head.
    reads
        What the probabilities are read off: ``both``; ``unrolled``, Z alone by two numbers (`SizeCalibration`);
        ``evidence``, the head without Z: no unrolled algorithm is run, and of the kind only remains whether it knows
        the regulators.

    Raises
    ------
    ValueError
        An unknown kind or ``reads``.
    """

    unrolled: GRNULar | GLAD | None
    head: InclusionHead | SizeCalibration

    def __init__(
        self,
        kind: str,
        *,
        unrolled: Mapping[str, Any] | None = None,
        width: int = 48,
        depth: int = 3,
        reads: str = "both",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}, expected one of {KINDS}")
        if reads not in READS:
            raise ValueError(f"reads is {reads!r}, expected one of {READS}")
        self.kind, self.reads = kind, reads
        self.options = {"unrolled": dict(unrolled or {}), "width": width, "depth": depth}
        if reads != "both":  # weights that were trained before there was a choice do not name it
            self.options["reads"] = reads
        options = {"num_extra": len(PRIOR_CHANNELS), **(unrolled or {})}
        made = GRNULar(**options) if kind == "grnular" else GLAD(**options)
        self.unrolled = made if self.unrolls else None
        both = InclusionHead(width=width, depth=depth, sees_z=self.unrolls)
        self.head = both if self.reads_evidence else SizeCalibration()
        self.register_buffer("worlds", torch.zeros(0, len(FEATURES), dtype=torch.float16))

    worlds: Tensor
    """Summaries ``(world, feature)`` of data sets of its training family (`simulate_worlds`); none where it was
    not trained, or by a version that kept none."""

    @property
    def unrolls(self) -> bool:
        """Whether the unrolled algorithm is run."""
        return self.reads != "evidence"

    @property
    def reads_evidence(self) -> bool:
        """Whether the evidence of pairs is computed."""
        return self.reads != "unrolled"

    @property
    def directed(self) -> bool:
        """Whether the kind is told the regulators."""
        return self.kind != "glad"

    def sources(self, tf_index: Tensor, genes: int) -> Tensor:
        """Genes that the kind considers as sources."""
        return tf_index if self.directed else torch.arange(genes, device=tf_index.device)

    def start(self, X: Tensor, sources: Tensor) -> Any:
        """What `solve` begins with and no trained number enters, to keep where the same data are solved many times:
        goodINIT's weights of GRNULar; ``None`` for GLAD."""
        if not isinstance(self.unrolled, GRNULar):
            return None
        return self.unrolled.initialise(_scaled(X), sources, seed=0)

    def solve(self, X: Tensor, sources: Tensor, knowledge: Tensor, *, start: Any = None) -> tuple[Tensor, Tensor]:
        """Θ and Z ``(graph, source, gene)`` of the unrolled algorithm; ``X`` ``(graph, cell, gene)``, ``sources``
        ``(graph, source)``, ``knowledge`` ``(graph, source, gene, 3)``; ``start`` as `start` gives it, or made anew.
        Zeros where it is not read."""
        if self.unrolled is None:
            nothing = X.new_zeros(*sources.shape, X.shape[-1])
            return nothing, nothing
        y = _scaled(X)
        if isinstance(self.unrolled, GRNULar):
            if start is None:
                state = self.unrolled(y, sources, extra=knowledge)
            else:
                state = self.unrolled.unroll(y, sources, start, extra=knowledge)
            return state.theta, state.z
        graphs, genes = len(X), X.shape[-1]
        rows = torch.arange(graphs, device=X.device)[:, None]
        extra = X.new_zeros(graphs, genes, genes, knowledge.shape[-1])
        extra[rows, sources] = knowledge
        # a pair is known as soon as one direction is
        extra = torch.where(extra[..., 1:2] > 0, extra, extra.transpose(1, 2))
        mask = None
        if self.directed:
            is_tf = torch.zeros(graphs, genes, dtype=torch.bool, device=X.device).scatter_(1, sources, True)
            mask = is_tf[:, :, None] | is_tf[:, None, :]
        state = self.unrolled(correlation_matrix(y), mask=mask, extra=extra)
        return state.theta[rows, sources], state.z[rows, sources]

    def evidence(self, X: Tensor, sources: Tensor, *, groups: Tensor | None = None, seed: int = 0) -> Tensor:
        """`pair_evidence` of one data set ``(cell, gene)``; zeros where it is not read."""
        if not self.reads_evidence:
            return X.new_zeros(len(sources), X.shape[1], len(CHANNELS))
        return pair_evidence(X, sources, groups=groups, seed=seed)

    def from_parts(self, evidence: Tensor, z: Tensor, knowledge: Tensor) -> Tensor:
        """Log-odds ``(graph, source, gene)``; without regulators, those of an edge in either direction."""
        logit: Tensor = self.head(evidence, z, knowledge)
        return logit if self.directed else 0.5 * (logit + logit.mT)

    def inputs(
        self,
        X: Tensor,
        tf_index: Tensor,
        knowledge: Tensor | None = None,
        *,
        groups: Tensor | None = None,
        seed: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the head sees of one data set ``(cell, gene)``: evidence, Z and knowledge, for `from_parts`; no
        gradients.

        Beyond `evidence.CELLS` cells are thinned evenly.
        """
        if len(X) > CELLS:
            kept = torch.linspace(0, len(X) - 1, CELLS, device=X.device).long()
            X, groups = X[kept], None if groups is None else groups[kept]
        X = X.float()
        sources = self.sources(tf_index, X.shape[1])
        channels = X.new_zeros(len(sources), X.shape[1], len(PRIOR_CHANNELS))
        if knowledge is not None:
            if self.directed:
                channels = knowledge.to(X)
            else:
                channels[tf_index] = knowledge.to(X)
                channels = torch.where(channels[..., 1:2] > 0, channels, channels.transpose(0, 1))
                channels[..., 2] = knowledge[..., 2].amax()
        with torch.no_grad():
            evidence = self.evidence(X, sources, groups=groups, seed=seed)
            _, z = self.solve(X[None], sources[None], channels[None])
        return evidence[None], z, channels[None]

    def solve_for_inputs(self, X: Tensor, tf_index: Tensor, knowledge: Tensor) -> Tensor:
        """Z of `inputs` once more, with gradients in the unrolled algorithm's numbers; ``knowledge`` as `inputs` gave
        it."""
        if len(X) > CELLS:
            X = X[torch.linspace(0, len(X) - 1, CELLS, device=X.device).long()]
        X = X.float()
        return self.solve(X[None], self.sources(tf_index, X.shape[1])[None], knowledge)[1]

    def of_inputs(self, inputs: tuple[Tensor, Tensor, Tensor], tf_index: Tensor) -> Tensor:
        """Log-odds ``(tf, gene)`` of the edge from ``tf`` to ``gene``, from `inputs`.

        ``glad`` sees no directions: between two candidate regulators each gets half of the probability of an edge.
        """
        logit = self.from_parts(*inputs)[0]
        if self.directed:
            return logit
        logit = logit[tf_index]
        both = torch.zeros(logit.shape[1], dtype=torch.bool, device=logit.device)
        both[tf_index] = True
        half = 0.5 * torch.sigmoid(logit)
        return torch.where(both, torch.logit(half), logit)

    def forward(
        self,
        X: Tensor,
        tf_index: Tensor,
        knowledge: Tensor | None = None,
        *,
        groups: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Log-odds ``(tf, gene)`` of every edge of one data set ``(cell, gene)``; ``knowledge`` ``(tf, gene, 3)``,
        ``groups`` ``(cell,)`` codes of known cell types."""
        return self.of_inputs(self.inputs(X, tf_index, knowledge, groups=groups, seed=seed), tf_index)
