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
        ``(target,)`` the half of the witnesses that is asked for each target, the second where that is −1. Default
        `Witnesses.asked` of the targets.
    """
    found = [left_out(model)]
    if witnesses is not None:
        asked = witnesses.asked(model.targets) if half is None else half
        found.append(own_noise(data, model.targets, witnesses, np.where(asked < 0, 1, asked)))
    stacked = np.stack(found)
    stacked += LEAST
    return np.log(stacked, out=stacked)


def left_out(model: RegressionNetwork) -> np.ndarray:
    """``(tf, target)`` u: the share of a target's variance that it loses without the regulator. Of a target that is a
    regulator itself, beside the others."""
    pick = lambda name: getattr(model, name)[0].detach().cpu()
    gram, anchor, residual = pick("gram").double().numpy(), pick("anchor").numpy(), pick("residual").numpy()
    sse = pick("sse").double().numpy()
    place = {name: i for i, name in enumerate(model.tfs)}
    own = {g: i for i, g in enumerate(model.own.cpu().tolist())}  # of some cells alone: these are not those of others
    rows, row_target = (part.cpu().numpy() for part in (model.clamped_rows.vector.double(), model.clamped_rows.target))
    found = np.empty(gram.shape[:1] + anchor.shape[1:])

    def inverted(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.sqrt(gram.diagonal())
        invert = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        return invert, np.linalg.inv(gram * invert[:, None] * invert + RIDGE * np.eye(len(gram)))

    def of(gram: np.ndarray, invert: np.ndarray, inverse: np.ndarray, targets: np.ndarray) -> None:
        """Of ``targets`` (index,), whose cells have this Gram matrix; some at a time in float64."""
        for start in range(0, len(targets), AT_ONCE):
            at = targets[start : start + AT_ONCE]
            w, r = anchor[:, at].astype(np.float64), residual[:, at].astype(np.float64)
            cross = r + gram @ w
            spread = np.sqrt((sse[at] + (w * (r + cross)).sum(0)).clip(0))
            r = cross * invert[:, None] * np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
            weight = inverse @ r
            found[:, at] = np.square(weight) / inverse.diagonal()[:, None]
            for column, g in enumerate(at.tolist()):
                t = place.get(model.targets[g])
                if t is not None:  # the inverse without its row and column
                    factor = inverse[:, t] / inverse[t, t]
                    rest = inverse.diagonal() - factor * inverse[t]
                    part = np.square(weight[:, column] - factor * weight[t, column])
                    found[:, g] = np.divide(part, rest, out=np.zeros_like(part), where=rest > 1e-12)
                    found[t, g] = 0.0

    every, invert, inverse = np.arange(anchor.shape[1]), *inverted(gram)
    of(gram, invert, inverse, np.setdiff1d(every, [*own, *row_target]))
    for g, i in own.items():
        alone = pick("own_gram")[i].double().numpy()
        of(alone, *inverted(alone), np.array([g]))
    for g, start, number in zip(*np.unique(row_target, return_index=True, return_counts=True), strict=True):
        less = rows[start : start + number]
        turned = less * invert @ inverse  # Woodbury
        rest = np.linalg.solve(np.eye(number) - turned @ (less * invert).T, turned)
        of(gram - less.T @ less, invert, inverse + turned.T @ rest, np.array([g]))
    return found.clip(0, 1, out=found)


def own_noise(data: ExpressionData, targets: tuple[str, ...], witnesses: Witnesses, half: np.ndarray) -> np.ndarray:
    """``(tf, target)`` squared correlation of a target with what only the measurement of the regulator says. Cells in
    which the target is clamped do not count."""
    context = contexts_of(data)
    kept = [witnesses.tfs.index(name) for name in data.tfs]
    measured, _, _ = within_contexts(data.select_genes(data.tfs).X.numpy(force=True), context)
    own = [measured - level[:, kept] for level in witnesses.levels]
    standard = [_standard(noise) for noise in own]
    found = np.empty((len(data.tfs), len(targets)))
    for start in range(0, len(targets), AT_ONCE):
        names = targets[start : start + AT_ONCE]
        some = data.select_genes(tuple(dict.fromkeys((*data.tfs, *names))))
        place = {name: i for i, name in enumerate(some.genes)}
        column = [place[name] for name in names]
        levels, clamped = (value[:, column].numpy(force=True) for value in (some.X, some.clamped))
        Y, _, _ = within_contexts(levels, context)
        Y = _standard(Y)
        asked = half[start : start + len(names)]
        for k, noise in enumerate(standard):
            mine = np.flatnonzero(asked == k)
            found[:, start + mine] = noise.T @ Y[:, mine] / len(Y)
        for g in np.flatnonzero(clamped.any(0)).tolist():
            free = ~clamped[:, g]
            y, _, _ = within_contexts(levels[free, g : g + 1], _codes(context[free]))
            found[:, start + g] = (_standard(own[asked[g]][free]).T @ _standard(y))[:, 0] / max(len(y), 1)
    squares: np.ndarray = np.square(found).clip(0, 1)
    return squares


def _codes(context: np.ndarray) -> np.ndarray:
    """Codes of the contexts that there are, from 0."""
    return np.unique(context, return_inverse=True)[1]


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(0)
    spread = np.sqrt(np.square(values).mean(0))
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
