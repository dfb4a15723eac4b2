r"""Conditional updates of the spike-and-slab hyperparameters, all from a few sums over edges."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...priors import Hyper, SpikeSlab
from .log_densities import LogDensity, log_density_of_logarithm
from .scoring_step import Evaluation, scoring_step
from .streams import Source, normal, uniform

State = dict[str, Tensor]
ScalesDensity = Callable[[Tensor, Tensor, Tensor], Tensor]


class ScalesAt(NamedTuple):
    """Slab scale s and spike ratio ρ ``(chain,)``, with the log density of the weights there and of the hyperpriors."""

    slab: Tensor
    ratio: Tensor
    fit: Tensor
    slab_prior: Tensor
    ratio_prior: Tensor


@dataclass(eq=False)
class EdgeClasses:
    """Edges grouped by what the prior knows of them: the same regulator and the same confidences P^k.

    The inclusion likelihood is a function of the number of edges and of present edges in each class, so its updates
    cost the number of classes (regulators × 2^sources for yes/no sources), not of edges.

    ``member`` (edge,) class of each edge, edges that may not exist in the last, unused class; ``tf`` (class,),
    ``feature`` (class, source), ``count`` (class,).
    """

    member: Tensor
    tf: Tensor
    feature: Tensor
    count: Tensor

    @classmethod
    def from_prior(cls, prior: SpikeSlab, allowed: Tensor) -> "EdgeClasses":
        num_tfs, num_targets = allowed.shape
        tf = torch.arange(num_tfs, device=allowed.device)[:, None].expand(-1, num_targets)
        table = torch.cat([tf[None].to(prior.probability.dtype), prior.probability]).flatten(1).T  # (edge, 1 + source)
        classes, member = torch.unique(table[allowed.flatten()], dim=0, return_inverse=True)
        full = torch.full((allowed.numel(),), len(classes), device=allowed.device)
        full[allowed.flatten()] = member
        count = torch.bincount(member, minlength=len(classes)).to(table.dtype)
        return cls(full, classes[:, 0].long(), classes[:, 1:], count)

    def sums(self, value: Tensor) -> Tensor:
        """``(chain, class)`` sums of ``(chain, tf, target)``."""
        out = value.new_zeros(len(value), len(self.tf) + 1)
        return out.index_add_(1, self.member, value.flatten(1))[:, :-1]


@dataclass(eq=False)
class HyperUpdates:
    """The hyperparameter moves of one `SpikeSlab`, with proposal scales that adapt during warm-up (and never after)."""

    prior: SpikeSlab
    allowed: Tensor
    generator: Source
    context_scale: Hyper
    adapting: bool = True
    log_step: State = field(default_factory=dict)
    classes: EdgeClasses = field(init=False)
    _steps_up_and_down: dict[tuple[float, torch.dtype, torch.device], tuple[Tensor, Tensor]] = field(
        default_factory=dict
    )
    _last_step: dict[str, tuple[Tensor | None, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hypers = {
            "slab_scale": self.prior.slab_scale,
            "spike_ratio": self.prior.spike_ratio,
            "hub_scale": self.prior.hub_scale,
        }
        hypers["context_scale"] = self.context_scale
        self.log_density: dict[str, LogDensity | None] = {}
        for name, hyper in hypers.items():
            self.set_hyperprior(name, hyper)
        self._set_edges()

    def set_hyperprior(self, name: str, hyper: Hyper) -> None:
        """What `log_hyperprior` of ``name`` evaluates."""
        self.log_density[name] = None if hyper.is_fixed else log_density_of_logarithm(hyper)

    def _set_edges(self) -> None:
        self.classes = EdgeClasses.from_prior(self.prior, self.allowed)
        self.num_edges: float | Tensor = float(self.allowed.sum())
        self.num_tfs = self.allowed.shape[0]
        listed = (self.prior.sign != 0).any(0) & self.allowed
        self.signed_edges = torch.nonzero(listed.flatten()).flatten()
        self.signs = self.prior.sign.flatten(1)[:, self.signed_edges]  # (source, edge)

    def log_hyperprior(self, name: str, value: Tensor) -> Tensor:
        """Log density of a scalar hyperparameter in its logarithm (density times value); zero when it is fixed."""
        density = self.log_density[name]
        return torch.zeros_like(value) if density is None else density(value)

    # -- random numbers ----
    def normal(self, like: Tensor) -> Tensor:
        """Standard normal noise in the shape of ``like``."""
        return normal(like.shape, self.generator, like)

    def accept(self, name: str, log_ratio: Tensor, target: float) -> Tensor:
        """Metropolis decisions, one an element; adapts the step of ``name`` towards the wanted acceptance rate."""
        u = uniform(log_ratio.shape, self.generator, log_ratio)
        accepted = u.log() < log_ratio
        if self.adapting:
            up, down = self._adaptation(target, log_ratio)
            self.log_step[name] = self.log_step[name] + torch.where(accepted, up, down)
        return accepted

    def _adaptation(self, target: float, like: Tensor) -> tuple[Tensor, Tensor]:
        """How much a logarithm of a step grows after an acceptance, and after a refusal."""
        key = (target, like.dtype, like.device)
        if key not in self._steps_up_and_down:
            self._steps_up_and_down[key] = (0.1 * (like.new_ones(()) - target), 0.1 * (like.new_zeros(()) - target))
        return self._steps_up_and_down[key]

    def step(self, name: str, like: Tensor) -> Tensor:
        """The current proposal scale of a move, one a chain; starts at 0.2."""
        if name not in self.log_step:
            self.log_step[name] = torch.full_like(like, math.log(0.2))
        log_step, (of, step) = self.log_step[name], self._last_step.get(name, (None, like))
        if of is not log_step:  # after warm-up it stays
            step = log_step.exp()
            self._last_step[name] = (log_step, step)
        return step

    # -- inclusion ----
    def update_inclusion(self, state: State) -> None:
        """The intercept a and the trust b by one Fisher-scoring proposal, hubs h likewise, then their spread; in
        place."""
        self.update_given(state, self.classes.sums(state["inclusion"]))

    def update_given(self, state: State, present: Tensor) -> None:
        """`update_inclusion` from the numbers of ``present`` edges, ``(chain, class)``."""
        if self._free_logit_terms():
            for _ in range(2):  # the proposal is refused when a trust goes negative: twice keeps useless sources moving
                self._update_coefficients(state, present)
        if "trust" in state and self.prior.strategy == "inclusion":
            self._walk_trust(state, present)
        if self.prior.has_hubs:
            self._update_hubs(state, present)
            if not self.prior.edge_logit.is_fixed:
                self._shift_hubs(state)
            if not self.prior.hub_scale.is_fixed:
                self._update_hub_scale(state)
                self._stretch_hubs(state, present)

    def _free_logit_terms(self) -> bool:
        return not self.prior.edge_logit.is_fixed or ("trust" in self.prior.dims and self.prior.strategy == "inclusion")

    @cached_property
    def _design(self) -> tuple[Tensor, Tensor]:
        """``(class, term)`` what the intercept, where it is free, and the trust multiply; and its outer products."""
        columns = [] if self.prior.edge_logit.is_fixed else [torch.ones(len(self.classes.tf), 1)]
        if self.prior.strategy == "inclusion" and "trust" in self.prior.dims:
            columns.append(self.classes.feature)
        design = torch.cat([column.to(self.classes.feature) for column in columns], dim=1)
        return design, torch.einsum("mi,mj->mij", design, design)

    def _hub_of_class(self, state: State) -> Tensor:
        return state["hub"][..., 0][:, self.classes.tf] if self.prior.has_hubs else state["edge_logit"].new_zeros(1, 1)

    def _update_coefficients(self, state: State, present: Tensor) -> None:
        free_intercept = not self.prior.edge_logit.is_fixed
        with_trust = self.prior.strategy == "inclusion" and "trust" in self.prior.dims
        design, squares = self._design  # (class, term), (class, term, term)
        offset = self._hub_of_class(state)
        if not free_intercept:
            offset = offset + state["edge_logit"][:, None]
        parts = ([state["edge_logit"][:, None]] if free_intercept else []) + ([state["trust"]] if with_trust else [])
        theta = torch.cat(parts, dim=1)  # (chain, term)
        mean, weight = torch.zeros_like(theta), torch.zeros_like(theta)
        if free_intercept:
            loc, sd = self.prior.edge_logit.constants
            mean[:, 0], weight[:, 0] = loc, sd**-2
        if with_trust:
            weight[:, int(free_intercept) :] = self.prior.trust_prior.constants[0] ** -2

        diagonal = torch.diag_embed(weight)

        def evaluate(value: Tensor) -> Evaluation:
            linear = value @ design.T + offset
            fit = (present * linear - self.classes.count * torch.nn.functional.softplus(linear)).sum(1)
            log_density = fit - 0.5 * (weight * (value - mean) ** 2).sum(1)
            p = torch.sigmoid(linear)
            gradient = (present - self.classes.count * p) @ design - weight * (value - mean)
            curvature = self.classes.count * p * (1 - p)
            if len(curvature) > design.shape[1]:
                information = torch.einsum("cm,mij->cij", curvature, squares)
            else:  # fewer products, as `einsum` of all three would choose; the other order rounds otherwise
                information = torch.einsum("cmi,mj->cij", curvature[..., None] * design, design)
            return log_density, gradient, information + diagonal

        positive = lambda value: (value[:, int(free_intercept) :] >= 0).all(1)
        theta = scoring_step(theta, evaluate, self.generator, inside=positive)
        if free_intercept:
            state["edge_logit"] = theta[:, 0]
        if with_trust:
            state["trust"] = theta[:, int(free_intercept) :]

    def _walk_trust(self, state: State, present: Tensor) -> None:
        """Random-walk steps of the trust coefficients: far from the mode a Fisher-scoring proposal is never accepted,
        because the way back from the mode is never proposed, and a chain that starts there would stay."""
        rest = self._hub_of_class(state) + state["edge_logit"][:, None]

        def density(trust: Tensor) -> Tensor:
            linear = rest + trust @ self.classes.feature.T
            return (present * linear - self.classes.count * torch.nn.functional.softplus(linear)).sum(1)

        state["trust"] = self.update_trust(state["trust"], density)

    def _class_offset(self, state: State) -> Tensor:
        offset = state["edge_logit"][:, None]
        if self.prior.strategy == "inclusion" and "trust" in self.prior.dims:
            offset = offset + state["trust"] @ self.classes.feature.T
        return offset

    def _update_hubs(self, state: State, present: Tensor) -> None:
        """Every hub effect by its own Fisher-scoring proposal: they are independent given the coefficients."""
        hub, scale = state["hub"][..., 0], state["hub_scale"][:, None]  # (chain, tf), (chain, 1)
        offset, count, tf = self._class_offset(state), self.classes.count, self.classes.tf
        gather = lambda v: v.new_zeros(len(v), self.num_tfs).index_add_(1, tf, v)

        def evaluate(value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            linear = offset + value[:, tf]
            p = torch.sigmoid(linear)
            density = (
                gather(present * linear - count * torch.nn.functional.softplus(linear)) - 0.5 * (value / scale) ** 2
            )
            gradient = gather(present - count * p) - value / scale**2
            information = gather(count * p * (1 - p)) + scale**-2
            return density, value + (gradient / information).clamp(-2, 2), information

        density, centre, information = evaluate(hub)
        new = centre + self.normal(hub) / information.sqrt()
        new_density, back, back_information = evaluate(new)
        forward = 0.5 * information.log() - 0.5 * information * (new - centre) ** 2
        backward = 0.5 * back_information.log() - 0.5 * back_information * (hub - back) ** 2
        ratio = new_density - density + backward - forward
        u = uniform(ratio.shape, self.generator, ratio)
        state["hub"] = torch.where(u.log() < ratio, new, hub)[..., None]

    def _shift_hubs(self, state: State) -> None:
        """Move a and the mean of the hubs against each other: the likelihood does not change, so the draw is exact."""
        hub, a = state["hub"][..., 0], state["edge_logit"]
        loc, sd = self.prior.edge_logit.constants
        weight = state["hub_scale"] ** -2
        precision = self.num_tfs * weight + sd**-2
        centre = (weight * hub.sum(1) - (a - loc) * sd**-2) / precision
        c = centre + self.normal(centre) / precision.sqrt()
        state["edge_logit"], state["hub"] = a + c, (hub - c[:, None])[..., None]

    def _stretch_hubs(self, state: State, present: Tensor) -> None:
        """Multiply η and all hubs by a common factor: the prior of the hubs does not change, the inclusion likelihood
        is by class."""
        offset, count = self._class_offset(state), self.classes.count
        hub = self._hub_of_class(state)

        def density(factor: Tensor) -> Tensor:
            linear = offset + factor[:, None] * hub
            fit = (present * linear - count * torch.nn.functional.softplus(linear)).sum(1)
            return fit + self.log_hyperprior("hub_scale", state["hub_scale"] * factor)

        total = torch.ones_like(state["hub_scale"])
        for _ in range(2):
            new = total * (self.step("hub stretch", total) * self.normal(total) * self.normal(total).exp()).exp()
            accepted = self.accept("hub stretch", density(new) - density(total), 0.44)
            total = torch.where(accepted, new, total)
        state["hub_scale"], state["hub"] = state["hub_scale"] * total, state["hub"] * total[:, None, None]

    def _update_hub_scale(self, state: State) -> None:
        square = state["hub"][..., 0].square().sum(1)
        for _ in range(4):
            log = state["hub_scale"].log()
            new = log + self.step("hub_scale", log) * self.normal(log)

            def density(value: Tensor) -> Tensor:
                return (
                    -self.num_tfs * value
                    - 0.5 * square * (-2 * value).exp()
                    + self.log_hyperprior("hub_scale", value.exp())
                )

            accepted = self.accept("hub_scale", density(new) - density(log), 0.44)
            state["hub_scale"] = torch.where(accepted, new, log).exp()

    # -- scales ----
    def stretch(self, state: State, name: str, linear: Tensor, quadratic: Tensor) -> Tensor:
        r"""Multiply a scale and everything drawn with it by a common factor; return the factor, ``(chain,)``.

        With W + (c − 1) D in place of W the log-likelihood changes by :math:`(c-1)A - \tfrac12 (c-1)^2 B`, A ``linear``
        and B ``quadratic`` ``(chain,)``, and the prior of the scaled weights not at all: the ancillary half of an
        interweaving move (Yu & Meng 2011), without which a small scale and its weights would hold each other in place.
        """
        total = torch.ones_like(state[name])
        current = {name: state[name]}
        if name == "slab_scale" and not self.prior.spike_ratio.is_fixed:
            current["spike_ratio"] = state["spike_ratio"]  # moves against the slab, so that the spike's width stays
        priors = {key: self.log_hyperprior(key, value) for key, value in current.items()}
        square = (total - 1) ** 2
        for _ in range(8):  # the products are paid for, another try costs almost nothing
            # heavy tails: how far a scale can go depends on whether the data see it at all, by orders of magnitude
            factor = (self.step(f"{name} stretch", total) * self.normal(total) * self.normal(total).exp()).exp()
            new = total * factor
            proposed = {key: value * factor if key == name else value / factor for key, value in current.items()}
            inside = proposed["spike_ratio"] < 1 if "spike_ratio" in proposed else None
            if inside is not None:
                proposed = {key: torch.where(inside, value, current[key]) for key, value in proposed.items()}
            new_square = (new - 1) ** 2
            change = linear * (new - total) - 0.5 * quadratic * (new_square - square)
            found = {key: self.log_hyperprior(key, value) for key, value in proposed.items()}
            for key in proposed:
                change = change + found[key] - priors[key]
            change = change if inside is None else torch.where(inside, change, -math.inf)
            accepted = self.accept(f"{name} stretch", change, 0.44)
            total, square = torch.where(accepted, new, total), torch.where(accepted, new_square, square)
            current = {key: torch.where(accepted, proposed[key], value) for key, value in current.items()}
            priors = {key: torch.where(accepted, found[key], value) for key, value in priors.items()}
        state.update(current)
        return total

    def update_context_scale(self, state: State, square: Tensor, count: float | Tensor) -> None:
        """ω given the sum of squares of the contexts' deviations from their centres, ``(chain,)``, and their number."""
        for _ in range(4):
            log = state["context_scale"].log()
            new = log + self.step("context_scale", log) * self.normal(log)

            def density(value: Tensor) -> Tensor:
                return (
                    -count * value
                    - 0.5 * square * (-2 * value).exp()
                    + self.log_hyperprior("context_scale", value.exp())
                )

            accepted = self.accept("context_scale", density(new) - density(log), 0.44)
            state["context_scale"] = torch.where(accepted, new, log).exp()

    def update_scales(self, state: State, loc: Tensor | None) -> None:
        """Slab scale, spike ratio, trust (when knowledge acts on the scale) and sign trust; in place.

        ``loc`` ``(chain, tf, target)`` is the slab's mean in units of its scale, or ``None``.
        """
        W, gate = state["W"], state["inclusion"]
        gated, square = gate * W, W * W
        if self.prior.strategy == "scale" and "trust" in self.prior.dims:
            sums = {"count": self.classes.sums(gate), "square": self.classes.sums(gate * square)}
            sums |= (
                {}
                if loc is None
                else {"mean": self.classes.sums(gated * loc), "loc": self.classes.sums(gate * loc * loc)}
            )
            feature = self.classes.feature
        else:
            total = lambda v: v.sum((1, 2))[:, None]
            sums = {"count": total(gate), "square": total(gate * square)}
            sums |= {} if loc is None else {"mean": total(gated * loc), "loc": total(gate * loc * loc)}
            feature = W.new_zeros(1, 0)
        present = sums["count"].sum(1)
        spike_square = ((1 - gate) * square).sum(
            (1, 2)
        )  # not by difference: the spike's share is below float32's digits of the sum
        spike_count = self.num_edges - present

        def density(slab: Tensor, ratio: Tensor, trust: Tensor) -> Tensor:
            log_scale = slab.log()[:, None]  # (chain, class)
            if feature.shape[1]:
                log_scale = log_scale + 0.5 * trust @ feature.T
            inverse = (-log_scale).exp()
            fit = -sums["count"] * log_scale - 0.5 * sums["square"] * inverse**2
            if loc is not None:
                fit = fit + sums["mean"] * inverse - 0.5 * sums["loc"]
            spike = slab * ratio
            return fit.sum(1) - spike_count * spike.log() - 0.5 * spike_square / spike**2

        trust = state["trust"] if feature.shape[1] else W.new_zeros(len(W), 0)
        at = self._scales_at(state["slab_scale"], state["spike_ratio"], trust, density)
        for _ in range(4):
            if not self.prior.slab_scale.is_fixed:
                new = at.slab * (self.step("slab_scale", at.slab) * self.normal(at.slab)).exp()
                # where ρ is free the spike's width ρ s stays as it is: tens of thousands of spikes would pin s
                # otherwise
                kept = at.ratio if self.prior.spike_ratio.is_fixed else at.ratio * at.slab / new
                at = self._step_to("slab_scale", at, new, kept, trust, density)
            if not self.prior.spike_ratio.is_fixed:
                new = at.ratio * (self.step("spike_ratio", at.ratio) * self.normal(at.ratio)).exp()
                at = self._step_to("spike_ratio", at, at.slab, new, trust, density)
            if trust.shape[1]:
                trust = self.update_trust(trust, partial(density, at.slab, at.ratio))
                at = at._replace(fit=density(at.slab, at.ratio, trust))
        state["slab_scale"], state["spike_ratio"] = at.slab, at.ratio
        if trust.shape[1]:
            state["trust"] = trust
        if "sign_trust" in state:
            self._update_sign_trust(state)

    def _scales_at(self, slab: Tensor, ratio: Tensor, trust: Tensor, density: ScalesDensity) -> "ScalesAt":
        priors = self.log_hyperprior("slab_scale", slab), self.log_hyperprior("spike_ratio", ratio)
        return ScalesAt(slab, ratio, density(slab, ratio, trust), *priors)

    def _step_to(
        self, name: str, at: "ScalesAt", slab: Tensor, ratio: Tensor, trust: Tensor, density: ScalesDensity
    ) -> "ScalesAt":
        """The proposal ``slab, ratio`` where it is accepted, and ``at`` elsewhere."""
        inside = ratio < 1
        ratio = torch.where(inside, ratio, at.ratio)
        new = self._scales_at(slab, ratio, trust, density)
        prior = new.ratio_prior - at.ratio_prior
        if name == "slab_scale":
            prior = new.slab_prior - at.slab_prior + new.ratio_prior - at.ratio_prior
        change = new.fit - at.fit + prior
        accepted = self.accept(name, torch.where(inside, change, -math.inf), 0.44)
        return ScalesAt(*(torch.where(accepted, n, old) for n, old in zip(new, at, strict=True)))

    def update_trust(self, trust: Tensor, density: Callable[[Tensor], Tensor]) -> Tensor:
        """Each source's coefficient by a random walk reflected at zero (the reflected walk is symmetric)."""
        current = density(trust)
        for k in range(trust.shape[1]):
            name = f"trust[{k}]"
            new = trust.clone()
            new[:, k] = (trust[:, k] + self.step(name, trust[:, k]) * self.normal(trust[:, k])).abs()
            prior = -0.5 * (new[:, k] ** 2 - trust[:, k] ** 2) * self.prior.trust_prior.constants[0] ** -2
            found = density(new)
            accepted = self.accept(name, (found - current).to(prior) + prior, 0.44)
            trust, current = torch.where(accepted[:, None], new, trust), torch.where(accepted, found, current)
        return trust

    def _update_sign_trust(self, state: State) -> None:
        r"""ψ_k | the rest: with w/s − Σ_{j≠k} ψ_j S^j ~ N(ψ_k S^k, 1) on present edges, a normal truncated at zero."""
        scale = slab_scale(self.prior, state).expand_as(state["W"]).flatten(1)[:, self.signed_edges]
        gate = state["inclusion"].flatten(1)[:, self.signed_edges]
        value = state["W"].flatten(1)[:, self.signed_edges] / scale
        psi = state["sign_trust"]
        for k in range(psi.shape[1]):
            rest = value - psi @ self.signs + psi[:, k : k + 1] * self.signs[k]
            precision = (gate * self.signs[k] ** 2).sum(1) + self.prior.sign_trust_prior.constants[0] ** -2
            mean = (gate * self.signs[k] * rest).sum(1) / precision
            psi = psi.clone()
            psi[:, k] = truncated_normal(mean, precision.rsqrt(), self.generator)
        state["sign_trust"] = psi


def weighted(coefficient: Tensor, feature: Tensor) -> Tensor:
    """``(chain, tf, target)`` Σ_k c_k f_k of ``coefficient`` ``(chain, source)`` and ``feature`` ``(source, tf,
    target)``; with a leading dimension of fits, the chains are theirs in equal shares."""
    if feature.dim() == 3:
        return torch.einsum("ck,ktg->ctg", coefficient, feature)
    by_fit = coefficient.unflatten(0, (len(feature), -1))
    return torch.einsum("fck,fktg->fctg", by_fit, feature).flatten(0, 1)


def slab_scale(prior: SpikeSlab, state: State) -> Tensor:
    """``(chain, tf, target)`` or ``(chain, 1, 1)``: the slab's scale of every edge."""
    slab = state["slab_scale"][:, None, None]
    if prior.strategy == "scale" and "trust" in prior.dims:
        return slab * (0.5 * weighted(state["trust"], prior.probability)).exp()
    return slab


def truncated_normal(mean: Tensor, sd: Tensor, generator: Source) -> Tensor:
    """A draw of N(mean, sd²) given that it is positive, by inversion of the upper tail in float64 (a mean down to −37
    sd)."""
    ratio = (mean / sd).double()
    u = 1 - uniform(mean.shape, generator, mean.double())  # (0, 1]
    mass = 0.5 * torch.erfc(-ratio / math.sqrt(2))  # ndtr(ratio), which torch takes for zero below -8
    z = -torch.special.ndtri((u * mass).clamp_min(1e-300))
    return (sd * (ratio + z)).to(mean).clamp_min(1e-8)
