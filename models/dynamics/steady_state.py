r"""What a linear network does when genes are clamped: the new steady state, or a few steps towards it."""

from typing import NamedTuple

import torch
from torch import Tensor

SQUARINGS = 10  # Gelfand's formula at the 1024th power: the spectral radius to well within a percent


class Response(NamedTuple):
    """``change`` (draw, target) in standard deviations; ``settled`` (draw,) whether the draw's network has a stable
    steady state."""

    change: Tensor
    settled: Tensor


class Baseline(NamedTuple):
    """Without intervention: ``regulators`` (draw, tf), ``values`` (draw, target), and whether the state is stable
    (draw,)."""

    regulators: Tensor
    values: Tensor
    settled: Tensor


def undisturbed(W: Tensor, intercept: Tensor, exogenous: Tensor, tf_target: Tensor) -> Baseline:
    r"""The steady state :math:`x = \mu + W^\top x_{\mathrm{tf}}`; regulators that are no targets stay at their means.

    Parameters
    ----------
    W, intercept
        ``(draw, tf, target)`` and :math:`\mu` ``(draw, target)``.
    exogenous
        ``(tf,)`` mean level of each regulator; used for those that are not targets.
    tf_target
        ``(tf,)`` position of each regulator among the targets, -1 where it is not a target.
    """
    A = among_regulators(W, tf_target)
    start = exogenous.expand(len(W), -1).clone()
    inner = tf_target >= 0
    start[:, inner] = intercept[:, tf_target[inner]]
    system = torch.eye(W.shape[1], dtype=W.dtype, device=W.device) - A.transpose(1, 2)
    regulators = torch.linalg.solve(system, start[..., None])[..., 0]
    return Baseline(regulators, intercept + torch.einsum("nt,ntg->ng", regulators, W), spectral_radius(A) < 1)


def among_regulators(W: Tensor, tf_target: Tensor) -> Tensor:
    """``(draw, tf, tf)``: the weights from regulators to regulators; no weight into a regulator that is not a
    target."""
    A = torch.zeros(len(W), W.shape[1], W.shape[1], dtype=W.dtype, device=W.device)
    inner = tf_target >= 0
    A[:, :, inner] = W[:, :, tf_target[inner]]
    return A


def respond(
    W: Tensor, tf_target: Tensor, clamped: Tensor, level: Tensor, clamped_target: Tensor, *, steps: int | None = None
) -> Response:
    r"""Change of every target when some regulators are held at new levels and their own equations are cut.

    With A the TF → TF part of W, the other regulators settle at :math:`d = A^\top d` with :math:`d_S = \delta` on the
    clamped set S, and targets at :math:`W^\top d`. Solved once: :math:`d = B_{\cdot S} B_{SS}^{-1}\delta`, :math:`B =
    (I-A^\top)^{-1}`. The state is reached only if the spectral radius of the cut system is below one. With ``steps`` =
    n the change is instead carried n times through W, as CellOracle does (Kamimoto et al. 2023, Methods, "signal
    propagation").

    Parameters
    ----------
    W
        ``(draw, tf, target)`` standardised weights.
    tf_target
        ``(tf,)`` position of each regulator among the targets, -1 where it is not a target.
    clamped, level
        ``(clamp,)`` positions among the regulators, and ``(clamp,)`` or ``(draw, clamp)`` changes in standard
        deviations.
    clamped_target
        ``(clamp,)`` positions among the targets, -1 where absent.
    steps
        ``None`` for the steady state.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"`steps` is {steps}: expected at least 1, or None for the steady state")
    num_tfs = W.shape[1]
    cut = among_regulators(W, tf_target)
    cut[:, :, clamped] = 0.0
    settled = spectral_radius(cut) < 1
    start = torch.zeros(len(W), num_tfs, dtype=W.dtype, device=W.device)
    start[:, clamped] = level
    if steps is None:
        # d - cutᵀ d = start: clamped rows of the system read d_S = δ
        system = torch.eye(num_tfs, dtype=W.dtype, device=W.device) - cut.transpose(1, 2)
        d = torch.linalg.solve(system, start[..., None])[..., 0]
    else:
        d = start
        for _ in range(steps - 1):
            d = torch.einsum("ns,nst->nt", d, cut) + start
    change = torch.einsum("nt,ntg->ng", d, W)
    known = clamped_target >= 0
    change[:, clamped_target[known]] = level[..., known]
    return Response(change, settled)


def spectral_radius(A: Tensor) -> Tensor:
    """``(*batch,)`` largest absolute eigenvalue by Gelfand's formula with repeated squaring: matrix products only, no
    eigenvalues."""
    log_norm = torch.zeros(A.shape[:-2], dtype=A.dtype, device=A.device)
    power = 1.0
    for _ in range(SQUARINGS):
        norm = torch.linalg.matrix_norm(A).clamp_min(1e-30)
        log_norm = log_norm + norm.log() / power
        A = A / norm[..., None, None]
        A = A @ A
        power *= 2
    return (log_norm + torch.linalg.matrix_norm(A).clamp_min(1e-30).log() / power).exp()
