"""What ``pyrogrn infer`` refuses before anything is computed."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from ...models import Model
from ..files.annotated import check_annotate
from ..files.network_tables import check_parquet
from ..fitting import METHODS
from ..preflight import AUTO
from .infer_options import OF_SOME, InferOptions
from .method_options import check_method_options
from .partners import OF_INFER, check_partners, options_of

MOST_THREADS = 1024  # systems refuse to start many more, in the middle of a run


def check(options: InferOptions) -> None:
    """Refuse options of other methods, and numbers out of range."""
    if options.method not in METHODS:
        raise ValueError(f"unknown method {options.method!r}: choose one of {', '.join((AUTO, *METHODS))}")
    given = {"--" + name.replace("_", "-"): getattr(options, name) for name in OF_SOME}
    given["--device"] = None if options.device in ("auto", "cpu") else options.device
    check_method_options(options.method, METHODS[options.method], given)
    check_partners(OF_INFER, options_of(vars(options)))
    if not 0 < options.level < 1:
        raise ValueError(f"--level {options.level}: expected a probability strictly between 0 and 1")
    for name in ("restarts", "steps", "top", "top_genes", "min_overlap", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name.replace('_', '-')} {number}: expected at least 1")
    if options.threads > MOST_THREADS:
        raise ValueError(f"--threads {options.threads}: expected at most {MOST_THREADS}")
    fewest = 0 if options.gene_sets else 1
    if options.factors is not None and options.factors < fewest:
        raise ValueError(f"--factors {options.factors}: expected at least {fewest}")
    if options.all_edges:
        check_parquet()
    if options.annotate is not None:
        check_annotate(options.annotate, options.expression, overwrite=options.overwrite)


def check_fit(settings: Mapping[str, Any], engine: Any, model: Model) -> None:
    """Refuse draws by another name than that of the engine, and a threshold where nothing is compared with it."""
    if "num_draws" in settings and engine.length_options is not None:
        raise ValueError("--set fit.num_draws is for variational fits: of a sampler, --steps are the kept draws")
    number = settings.get("num_draws", 1)
    if type(number) is not int or number < 1:
        raise ValueError(f"--set fit.num_draws={number}: expected a whole number of at least 1")
    if "threshold" in settings:
        check_threshold(settings["threshold"], learned=engine.learns_on_simulations, dims=model.dims)


def check_threshold(threshold: Any, *, learned: bool, dims: Collection[str]) -> None:
    """Refuse a threshold that is no size, or that the fit would not use: an edge or a loading with a variable of its
    own that says whether it exists needs none."""
    if type(threshold) not in (int, float) or not 0 <= threshold < math.inf:
        raise ValueError(f"--set fit.threshold={threshold}: expected a finite number of at least 0")
    own = {"inclusion", "existence"} & set(dims)
    if learned or own:
        raise ValueError(
            "--set fit.threshold does nothing here: the inclusion of this fit is the probability that an edge or a "
            "member exists, not that its weight exceeds a size. Leave it out (a size is asked where the prior has no "
            "such variable, as --edge-prior horseshoe or --loading-prior normal)"
        )
