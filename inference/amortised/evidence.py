r"""What the data say of every pair of regulator and gene, as channels that a small network can read."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

CELLS = 5000  # more cells are thinned evenly: the channels are averages, and training saw no more
LARGEST_GROUPS = 12
RIDGE = {"all": 0.01, "within": 0.05, "between": 0.1, "detected": 0.05}
"""Added to correlation matrices before they are inverted: of all cells, within groups of cells, between the means of
groups (few, so the most), of detection."""
CHANNELS = (
    *(
        f"{scale} {name}"
        for scale in ("raw", "log", "relative")
        for name in (
            "correlation",
            "weight",
            "score",
            "within correlation",
            "within weight",
            "within score",
            "reverse score",
            "between correlation",
            "between weight",
            "between share of regulator",
            "between share of gene",
        )
    ),
    "detection correlation",
    "detection score",
    *(f"{of} between {name}" for of in ("log mean", "detection") for name in ("correlation", "weight")),
    "log mean slope",
    *(
        f"{name} of {of}"
        for name in (
            "spread of log means",
            "log mean",
            "log variance",
            "share of zeros",
            "log of largest mean",
            "log of smallest mean",
        )
        for of in ("regulator", "gene")
    ),
    "gene is regulator",
    "groups",
    "log regulators",
    "log cells",
)


def pair_evidence(X: Tensor, tf_index: Tensor, *, groups: Tensor | None = None, seed: int = 0) -> Tensor:
    """Channels (`CHANNELS`) of every pair, ``(tf, gene, channel)``; finite for any data.

    Cells of several types differ in two ways: types differ in their means, cells of a type around them. Both follow
    the network, with different noise, so correlations and ridge regressions are computed for all cells, within groups
    of cells and between groups' means; on values, on log(1 + x), on the same relative to the total of the cell
    (library sizes), and on detection (x > 0), which is what is left under heavy dropout. A regulator is regressed on
    the other regulators.

    Parameters
    ----------
    X
        ``(cell, gene)`` expression, counts or normalised; values below 0 shift the whole matrix up to 0.
    tf_index
        ``(tf,)`` positions of the regulators.
    groups
        ``(cell,)`` codes of cell types. Default: found by k-means on principal components, as many as exceed the
        largest of the same data with every gene shuffled (parallel analysis, Horn 1965).
    seed
        Of shuffling, of starts of k-means; the global generators are not touched.
    """
    generator = torch.Generator(device=X.device).manual_seed(seed)
    if len(X) > CELLS:
        kept = torch.linspace(0, len(X) - 1, CELLS, device=X.device).long()
        X, groups = X[kept], None if groups is None else groups[kept]
    X = X.float() - X.min().clamp_max(0.0)
    log, relative = X.log1p(), relative_log(X)
    groups = find_groups(relative, generator) if groups is None else torch.unique(groups, return_inverse=True)[1]
    count = int(groups.max()) + 1
    member = torch.nn.functional.one_hot(groups, count).to(X)  # (cell, group)
    size = member.sum(0)[:, None]
    means: Callable[[Tensor], Tensor] = lambda v: (member.T @ v) / size
    root = size.sqrt()
    shape = (len(tf_index), X.shape[1])
    found: list[Tensor] = []

    def of_genes(value: Tensor) -> None:
        found.extend((value[tf_index][:, None].expand(shape), value[None].expand(shape)))

    for values in (X, log, relative):
        y = _standardised(values, 1e-6)
        found.extend(_regressions(y, tf_index, RIDGE["all"]))
        mean = means(y)
        correlation, weight, score = _regressions(y - mean[groups], tf_index, RIDGE["within"])
        reverse = torch.zeros_like(score)
        reverse[:, tf_index] = score[:, tf_index].T
        found.extend((correlation, weight, score, reverse))
        apart = (mean - y.mean(0)) * root
        found.extend(_regressions(apart, tf_index, RIDGE["between"])[:2])
        of_genes(apart.square().sum(0) / len(X))
    detected = (X > 0).to(X)
    found.extend(_regressions(_standardised(detected, 1e-2), tf_index, RIDGE["detected"])[::2])
    log_means = (means(X) + 0.05).log()
    rates = torch.logit(means(detected).clamp(0.01, 0.99))
    for values in (log_means, rates):
        found.extend(_regressions((values - values.mean(0)) * root, tf_index, RIDGE["between"])[:2])
    centred = log_means - log_means.mean(0)
    regulator = centred[:, tf_index]
    found.append(regulator.T @ centred / (regulator.square().sum(0)[:, None] + 0.1))
    of_genes(centred.square().mean(0).sqrt())
    of_genes((X.mean(0) + 1e-2).log())
    of_genes((X.var(0) + 1e-3).log())
    of_genes(1 - detected.mean(0))
    of_genes((means(X).amax(0) + 1e-2).log())
    of_genes((means(X).amin(0) + 1e-2).log())
    is_tf = X.new_zeros(X.shape[1])
    is_tf[tf_index] = 1
    found.append(is_tf[None].expand(shape))
    for constant in (count, math.log(len(tf_index)), math.log(len(X))):
        found.append(X.new_full(shape, float(constant)))
    return torch.nan_to_num(torch.stack(found, dim=-1))


def relative_log(X: Tensor) -> Tensor:
    """log(1 + x) after every cell is brought to the median total."""
    total = X.sum(1, keepdim=True)
    return (X * (total.median() / total.clamp_min(1e-12))).log1p()


def find_groups(log: Tensor, generator: torch.Generator) -> Tensor:
    """``(cell,)`` groups of cells by k-means on the principal components that are signal; 2 to `LARGEST_GROUPS`."""
    y = log - log.mean(0)
    cells, genes = y.shape
    if cells < 4 or genes < 2:
        return torch.zeros(cells, dtype=torch.long, device=log.device)
    rank = min(LARGEST_GROUPS + 4, cells - 1, genes)
    order = torch.rand(y.shape, generator=generator, device=y.device).argsort(0)
    noise = _singular(y.gather(0, order), 1, generator)[1][0]
    left, strength = _singular(y, rank, generator)
    signal = int((strength.square() > 1.05 * noise.square()).sum())
    number = min(max(2, signal + 1), LARGEST_GROUPS, cells // 2)
    position = (left * strength)[:, : max(signal, 2)]
    return _k_means(position, number, generator)


def _singular(y: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Leading left singular vectors and values by randomised subspace iteration (Halko et al. 2011)."""
    probe = torch.randn(y.shape[1], min(rank + 8, *y.shape), generator=generator, device=y.device, dtype=y.dtype)
    basis = torch.linalg.qr(y @ probe)[0]
    for _ in range(5):
        basis = torch.linalg.qr(y @ (y.T @ basis))[0]
    left, strength, _ = torch.linalg.svd(basis.T @ y, full_matrices=False)
    return (basis @ left)[:, :rank], strength[:rank]


def _k_means(z: Tensor, number: int, generator: torch.Generator, *, restarts: int = 8, steps: int = 20) -> Tensor:
    """Labels without empty groups; k-means++ starts (Arthur & Vassilvitskii 2007), all restarts in one batch."""
    pick = torch.randint(len(z), (restarts, 1), generator=generator, device=z.device)
    centres = z[pick]  # (restart, k, dimension)
    many = z.expand(restarts, -1, -1)
    for _ in range(number - 1):
        distance = torch.cdist(many, centres).amin(-1).square()
        chosen = torch.multinomial(distance.clamp_min(1e-9), 1, generator=generator)
        centres = torch.cat([centres, z[chosen]], dim=1)
    for _ in range(steps):
        member = torch.nn.functional.one_hot(torch.cdist(many, centres).argmin(-1), number).to(z)
        total = member.sum(1)[..., None]
        centres = torch.where(total > 0, member.transpose(1, 2) @ z / total.clamp_min(1), centres)
    distance, label = torch.cdist(many, centres).min(-1)
    best = int(distance.square().sum(1).argmin())
    return torch.unique(label[best], return_inverse=True)[1]


def _standardised(values: Tensor, floor: float) -> Tensor:
    """Centred columns in units of their sd; a constant column becomes 0."""
    centred = values - values.mean(0)
    return centred / (centred.square().mean(0).sqrt() + floor)


def _regressions(y: Tensor, tf_index: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation, ridge weight and score (weight over its standard error, divided by the root of the number of
    rows) of every pair."""
    product = y.T[tf_index].double() @ y.double()  # (tf, gene)
    scale = y.double().square().sum(0).clamp_min(1e-8).sqrt()
    correlation = product / scale[tf_index, None] / scale
    among = correlation[:, tf_index]
    inverse = torch.linalg.inv(among + ridge * torch.eye(len(among), device=y.device, dtype=among.dtype))
    diagonal = inverse.diagonal()
    weight = inverse @ correlation
    # a regulator's regression on the others is a row of the inverse; its scores keep the full inverse's diagonal
    weight[:, tf_index] = (-inverse / diagonal).fill_diagonal_(0.0)
    residual = (1 - (weight * correlation).sum(0)).clamp(1e-3, 1.0)
    score = weight / (diagonal[:, None] * residual).sqrt()
    return correlation.to(y), weight.to(y), score.to(y)
