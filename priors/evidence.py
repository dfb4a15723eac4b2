r"""Evidence on edges that is observed, tables of scores and lists of edges: its densities given the network."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .formats.files import read_text
from .formats.spreadsheet import read_named, restore_names
from .network import PriorNetwork


@dataclass(frozen=True, eq=False)
class EdgeEvidence:
    """Observed evidence laid on the axes of one model.

    Attributes
    ----------
    profiles, lists
        Names of the tables of scores and of the lists of edges.
    score
        ``(profile, tf, target)`` scores in standard deviations from their mean, 0 where none was measured.
    measured
        ``(profile, tf, target)`` bool.
    mean, scale
        ``(profile,)`` that were taken out of the scores.
    listed
        ``(list, tf, target)`` bool.
    covered
        ``(list, tf, target)`` bool: edges that the list would name if it knew them, those of the regulators it has.
    notes
        What each contributed.
    """

    profiles: tuple[str, ...]
    lists: tuple[str, ...]
    score: Tensor
    measured: Tensor
    mean: Tensor
    scale: Tensor
    listed: Tensor
    covered: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, evidence: Mapping[str, "pd.DataFrame | PriorNetwork"], tfs: Sequence[str], targets: Sequence[str]
    ) -> "EdgeEvidence":
        """Match tables (regulators in rows, genes in columns, NaN where nothing was measured) and networks to the axes.

        Raises
        ------
        ValueError
            A table with repeated names, infinite values, no overlap with the axes, or scores that do not vary; a
            network that matches no edge.
        """
        shape = (len(tfs), len(targets))
        possible = np.array([[t != g for g in targets] for t in tfs])
        scores, means, scales, lists, covers, notes = [], [], [], [], [], []
        profiles, names = [], []
        for name, found in evidence.items():
            if isinstance(found, pd.DataFrame):
                values = np.where(possible, _scores(name, found, tfs, targets), np.nan)
                seen = np.isfinite(values)
                mean, scale = float(values[seen].mean()), float(values[seen].std())
                if not scale > 1e-12 * max(1.0, abs(mean)):
                    raise ValueError(
                        f"evidence '{name}': all {int(seen.sum())} scores are {mean:g}; expected some to differ"
                    )
                scores.append((values - mean) / scale)
                means.append(mean)
                scales.append(scale)
                profiles.append(name)
                notes.append(f"evidence '{name}': scores of {int(seen.sum())} of {int(possible.sum())} possible edges")
                continue
            aligned, report = found.align(tfs, targets)
            rows = np.isin(np.array(tfs, dtype=object), np.array(found.sources, dtype=object))
            lists.append(aligned.matrix(tfs, targets)[0] > 0)
            covers.append(rows[:, None] & possible)
            names.append(name)
            notes.append(f"evidence '{name}': lists {report.edges_out} of {int(covers[-1].sum())} possible edges")
        table = np.stack(scores) if scores else np.zeros((0, *shape))
        stack = lambda v: torch.as_tensor(np.stack(v) if v else np.zeros((0, *shape), dtype=bool))
        return cls(
            tuple(profiles),
            tuple(names),
            torch.as_tensor(np.nan_to_num(table), dtype=torch.float32),
            torch.as_tensor(np.isfinite(table)),
            torch.tensor(means),
            torch.tensor(scales),
            stack(lists),
            stack(covers),
            tuple(notes),
        )


def _scores(name: str, table: pd.DataFrame, tfs: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """``(tf, target)`` float64, NaN where nothing was measured."""
    for axis, labels in (("rows", table.index), ("columns", table.columns)):
        if not labels.is_unique:
            raise ValueError(
                f"evidence '{name}': the {axis} repeat names, e.g. {labels[labels.duplicated()][0]!r}; give each once"
            )
    rows, columns = set(tfs) & set(table.index), set(targets) & set(table.columns)
    if not rows or not columns:
        raise ValueError(
            f"evidence '{name}': {len(rows)} of {len(table.index)} rows are regulators and {len(columns)} of "
            f"{len(table.columns)} columns targets of the data; expected regulators in rows and genes in columns"
        )
    values = table.reindex(index=list(tfs), columns=list(targets)).to_numpy(dtype=np.float64)
    if np.isinf(values).any():
        raise ValueError(f"evidence '{name}': {int(np.isinf(values).sum())} infinite scores; expected finite numbers")
    if not np.isfinite(values).any():
        raise ValueError(f"evidence '{name}': no score of an edge between regulators and targets of the data")
    return values


def read_scores(path: str | os.PathLike) -> pd.DataFrame:
    """A table of scores from a csv or tsv file, plain or gzip: regulators in rows and genes in columns; or one row an
    edge with the columns ``source``, ``target``, ``score``. Empty cells, and edges that are not listed, were not
    measured.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For entries that are not numbers, names that are repeated, or an empty file; one line that starts with the path.
    """
    name = Path(path).name.removesuffix(".gz")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        separator, text = "\t" if name.endswith((".tsv", ".txt")) else ",", read_text(path)
        table = read_named(text, separator)
        if not {"source", "target", "score"} <= set(table.columns):
            table = read_named(text, separator, None)
        table = restore_names(table)
    except (ValueError, UnicodeDecodeError, OSError) as error:  # pandas' errors of parsing are ValueErrors
        raise ValueError(f"{path}: not a table of scores ({str(error).splitlines()[0]})") from None
    long = {"source", "target", "score"} <= set(table.columns)
    keys = ["source", "target"] if long else [table.columns[0]]
    repeated = table.duplicated(keys)
    if repeated.any():
        first = " -> ".join(str(v) for v in table[keys][repeated].iloc[0])
        raise ValueError(f"{path}: {int(repeated.sum())} rows repeat an earlier one, e.g. {first}; give each once")
    numbers = table["score"].to_frame() if long else table.iloc[:, 1:]
    words = [str(c) for c, kind in numbers.dtypes.items() if kind.kind not in "fiu"]
    if words or numbers.empty:
        found = f"columns {words[:3]} hold no numbers" if words else "no scores"
        raise ValueError(f"{path}: {found}; expected regulators × genes, or columns source, target, score")
    wide = table.pivot_table("score", "source", "target") if long else table.set_index(keys[0])
    return wide.rename_axis(index=None, columns=None).astype(float).rename(index=str, columns=str)


# -- densities ----
def score_log_prob(
    existence: Tensor,
    score: Tensor,
    measured: Tensor,
    *,
    absent: Tensor,
    shift: Tensor,
    sd: Tensor,
    correlation: Tensor | None,
) -> Tensor:
    r"""``(*batch, tf, target)`` log density of the scores of each edge,

    .. math:: Y_{ltg} = a_l + \Delta_l\,e_{tg} + s_l\,(\sqrt r\,u_{tg} + \sqrt{1-r}\,\epsilon_{ltg}),
              \qquad u, \epsilon \sim N(0, 1),

    u, what the profiles share of an edge besides its existence, integrated out.

    Parameters
    ----------
    existence
        ``(*batch, tf, target)`` e, 0 to 1.
    score, measured
        ``(profile, tf, target)``.
    absent, shift, sd
        ``(*batch, profile)`` a, Δ, s; batch dimensions as of ``existence``, or ones in the place of its last two.
    correlation
        r, like one profile of these; ``None`` with a single profile.
    """
    total, square, log_scale = torch.zeros_like(existence), torch.zeros_like(existence), torch.zeros_like(existence)
    for place in range(len(score)):
        seen = measured[place].to(score.dtype)
        z = seen * (score[place] - absent[..., place] - shift[..., place] * existence) / sd[..., place]
        total, square = total + z, square + z * z
        log_scale = log_scale + seen * sd[..., place].log()
    number = measured.sum(0).to(score.dtype)
    constant = -0.5 * number * math.log(2 * math.pi) - log_scale
    if correlation is None:
        return constant - 0.5 * square
    rest, whole = 1 - correlation, 1 - correlation + number * correlation
    quadratic = (square - correlation * total * total / whole) / rest
    return constant - 0.5 * quadratic - 0.5 * ((number - 1) * rest.log() + whole.log())


def list_log_prob(existence: Tensor, listed: Tensor, covered: Tensor, *, logit: Tensor, shift: Tensor) -> Tensor:
    r"""``(*batch, tf, target)`` log probability of being listed or not, :math:`\operatorname{logit} q_{ltg} = c_l + d_l
    e_{tg}`, of the lists that cover an edge; shapes as `score_log_prob`."""
    total = torch.zeros_like(existence)
    for place in range(len(listed)):
        odds = logit[..., place] + shift[..., place] * existence
        found = listed[place].to(total.dtype) * odds - softplus(odds)
        total = total + covered[place].to(total.dtype) * found
    return total
