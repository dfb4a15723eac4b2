r"""What the cells say of an edge beside posteriors: how much of the gene it alone explains, and its own noise.

Where there are many cells, posteriors of all edges that anything shows of are certain, of a gene's regulator as of the
regulator's siblings (which follow the same cause), and no map tells them apart. Two numbers do, as far as can be:

- what the gene loses when the regulator is left out of a regression on all,
  :math:`u_{tg} = w_{tg}^2 / (R_\delta^{-1})_{tt}` of its variance, with :math:`w = R_\delta^{-1} r` of the correlations
  of the regulators among themselves, :math:`R_\delta = R + \delta I`, and with the gene, :math:`r`;
- how much of the gene what only the regulator's own measurement says explains: the squared correlation of the gene with
  :math:`z_t - \hat z_t`, where :math:`\hat z` is what other genes say of the regulator (`witnesses`). What happens to a
  regulator alone reaches its targets and not its siblings, as an instrument does. Where regulators are measured badly
  this is noise of measurement, which reaches nobody: it is asked only where they are not.
"""

import numpy as np

from ...models import ExpressionData, RegressionNetwork
from ...models.data.out_of_fold import contexts_of, within_contexts
from .witnesses import Witnesses

RIDGE = 5e-3  # δ: regulators that are copies of one another share what they explain
LEAST = 1e-4  # of a gene's variance, of which logarithms begin
AT_ONCE = 1024  # targets


def evidence_of(
    model: RegressionNetwork, data: ExpressionData, witnesses: Witnesses | None, half: np.ndarray | None = None
) -> np.ndarray:
    """``(number, tf, target)`` logarithms of the shares of variance, the first alone without ``witnesses``.

    Parameters
    ----------
    model
        A linear network of one context, of these cells.
    data
        The cells, which hold the regulators as they were measured and the targets.
    witnesses
        None where regulators are measured badly (`witnesses.measured_well`), or hardly any gene is no regulator.
    half
        ``(target,)`` the half of the witnesses, 0 or 1, that is asked for each target. Default the one that it is not
        in, and the second for targets in none.
    """
    found = [left_out(model)]
    if witnesses is not None:
        halves = np.array([1 - witnesses.half.get(name, 0) for name in model.targets]) if half is None else half
        found.append(own_noise(data, model.targets, witnesses, halves))
    return np.log(np.stack(found) + LEAST)


def left_out(model: RegressionNetwork) -> np.ndarray:
    """``(tf, target)`` u: the share of a target's variance that it loses without the regulator. Of a target that is a
    regulator itself, beside the others."""
    pick = lambda name: getattr(model, name)[0].detach().cpu().double().numpy()
    gram, anchor, residual, sse = pick("gram"), pick("anchor"), pick("residual"), pick("sse")
    moved = gram @ anchor
    own = model.own.cpu().numpy()
    if len(own):  # targets of which some cells do not count, or that are regulators
        moved[:, own] = np.einsum("pst,tp->sp", pick("own_gram"), anchor[:, own])
    cross = residual + moved
    square = sse + (anchor * (residual + cross)).sum(0)
    scale = np.sqrt(gram.diagonal())
    invert = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    spread = np.sqrt(square.clip(0))
    R = gram * invert[:, None] * invert + RIDGE * np.eye(len(gram))
    r = cross * invert[:, None] * np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    inverse = np.linalg.inv(R)
    place = {name: i for i, name in enumerate(model.tfs)}
    found: np.ndarray = np.square(inverse @ r) / inverse.diagonal()[:, None]
    for g, name in enumerate(model.targets):
        t = place.get(name)
        if t is not None:  # the inverse without its row and column
            column = inverse[:, t] / inverse[t, t]
            weight = inverse @ r[:, g] - column * (inverse[t] @ r[:, g])
            rest = inverse.diagonal() - column * inverse[t]
            found[:, g] = np.divide(np.square(weight), rest, out=np.zeros_like(weight), where=rest > 0)
            found[t, g] = 0.0
    return found.clip(0, 1)


def own_noise(data: ExpressionData, targets: tuple[str, ...], witnesses: Witnesses, half: np.ndarray) -> np.ndarray:
    """``(tf, target)`` squared correlation of a target with what only the measurement of the regulator says. Cells in
    which the target is clamped do not count."""
    context = contexts_of(data)
    kept = [witnesses.tfs.index(name) for name in data.tfs]
    measured, _, _ = within_contexts(data.select_genes(data.tfs).X.numpy(force=True), context)
    own = [_standard(measured - level[:, kept]) for level in witnesses.levels]
    place = {name: i for i, name in enumerate(data.genes)}
    found = np.empty((len(data.tfs), len(targets)))
    for start in range(0, len(targets), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        some = data.select_genes(tuple(dict.fromkeys((*data.tfs, *targets[rows]))))
        place = {name: i for i, name in enumerate(some.genes)}
        column = [place[name] for name in targets[rows]]
        Y, _, _ = within_contexts(some.X[:, column].numpy(force=True), context)
        Y = _standard(np.where(some.clamped[:, column].numpy(force=True), 0.0, Y))
        for k, noise in enumerate(own):
            asked = half[rows] == k
            found[:, np.arange(start, start + len(column))[asked]] = noise.T @ Y[:, asked] / len(Y)
    squares: np.ndarray = np.square(found).clip(0, 1)
    return squares


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(0)
    spread = np.sqrt(np.square(values).mean(0))
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
