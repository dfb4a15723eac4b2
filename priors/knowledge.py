"""`EdgeKnowledge`: several prior networks laid on the axes of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .network import AlignmentReport, PriorNetwork


@dataclass(frozen=True, eq=False)
class EdgeKnowledge:
    """What is known of each edge before the data.

    Attributes
    ----------
    tfs, targets
        Names of the axes.
    sources
        Names of the K sources of knowledge; may be empty.
    probability
        ``(source, tf, target)`` float: the confidence P^k of each source in each edge, 0 where it lists none; three
        decimals, more than any source can claim, so that edges fall into few classes of equal knowledge.
    sign
        ``(source, tf, target)`` in {-1, 0, +1}: 0 where the source does not know.
    allowed
        ``(tf, target)`` bool: False on self-edges, and outside the support of a hard mask.
    reports
        What each source contributed and what of it was dropped in matching, by source.
    """

    tfs: tuple[str, ...]
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    probability: Tensor
    sign: Tensor
    allowed: Tensor
    reports: Mapping[str, AlignmentReport]

    @classmethod
    def from_networks(
        cls, networks: Mapping[str, PriorNetwork] | None, tfs: Sequence[str], targets: Sequence[str]
    ) -> "EdgeKnowledge":
        """Match every source to the axes; a source without any overlap is an error (see `PriorNetwork.align`)."""
        probability, sign, reports = [], [], {}
        for name, network in (networks or {}).items():
            aligned, reports[name] = network.align(tfs, targets)
            p, s = aligned.matrix(tfs, targets)
            probability.append(torch.as_tensor(np.round(p, 3), dtype=torch.float32))
            sign.append(torch.as_tensor(s.astype(np.float32)))
        shape = (len(reports), len(tfs), len(targets))
        place = {target: i for i, target in enumerate(targets)}
        allowed = torch.ones(shape[1:], dtype=torch.bool)
        for row, tf in enumerate(tfs):
            if tf in place:
                allowed[row, place[tf]] = False
        return cls(
            tuple(tfs),
            tuple(targets),
            tuple(reports),
            torch.stack(probability) if probability else torch.zeros(shape),
            torch.stack(sign) if sign else torch.zeros(shape),
            allowed,
            reports,
        )

    @classmethod
    def of_programs(
        cls, networks: Mapping[str, PriorNetwork] | None, factors: Sequence[str], genes: Sequence[str]
    ) -> "EdgeKnowledge":
        """Gene sets laid on factors × genes: as `from_networks`, and a program may well hold a gene of its own name."""
        found = cls.from_networks(networks, factors, genes)
        return replace(found, allowed=torch.ones_like(found.allowed))

    @classmethod
    def unlabelled(cls, factors: Sequence[str], genes: Sequence[str]) -> "EdgeKnowledge":
        """Factors of which nothing is known."""
        return cls.of_programs(None, factors, genes)

    @property
    def listed(self) -> Tensor:
        """``(tf, target)`` bool: edges that some source lists."""
        return (self.probability > 0).any(0)
