"""Options of methods in ``pyrogrn ablate``: ``--set`` as of ``infer``, and what gene programs and CellBox take."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...models import ExpressionData
    from ..ablation import Effort

Groups = dict[str, dict[str, Any]]
OF_PROGRAMS = ("--gene-sets", "--factors", "--min-overlap")


def read_settings(
    entries: Sequence[str], methods: Sequence[str], strategies: Sequence[str] | None, given: Mapping[str, Any]
) -> Groups:
    """``--set`` checked for every method, with the options that say what the models are made of.

    Parameters
    ----------
    entries
        Of ``--set``.
    methods, strategies
        As of `ablate`, which refuses unknown ones.
    given
        ``--gene-sets``, ``--factors``, ``--min-overlap``, ``--prior``, ``--nodes``, ``--inputs`` by name.

    Raises
    ------
    ValueError
        As `infer`: an unknown name or group, a value of another kind; an option of another method.
    """
    from ..ablation.engines import PRIOR_ONLY
    from ..files.readers import read_kinds
    from .method_options import check_settings
    from .options import parse_settings

    _check_partners(methods, given)
    groups = parse_settings(entries)
    for method in methods:
        if method == PRIOR_ONLY:
            for group in ("model", "guide", "fit"):
                for name in groups[group]:
                    raise ValueError(f"--set {group}.{name}: --method {PRIOR_ONLY} fits nothing: it takes prior.NAME")
        else:
            check_settings(method, groups)
        _check_prior(method, strategies, groups["prior"])
    made = {"num_factors": given["--factors"], "min_overlap": given["--min-overlap"]}
    groups["model"] |= {name: value for name, value in made.items() if value is not None}
    if given["--nodes"] is not None:
        groups["model"]["kinds"] = read_kinds(given["--nodes"])
    return groups


def check_guide(
    groups: Groups, data: "ExpressionData", networks: Mapping[str, Any], methods: Sequence[str], effort: "Effort"
) -> None:
    """Refuse settings of the guide that the engine of a method does not take.

    The engine depends on the model, which is made here, without sources.
    """
    from ...inference.amortised import KINDS
    from ..ablation.engines import check_method, guide_of, make_model, strategies_of
    from ..ablation.program_models import PROGRAMS, program_model
    from ..ablation.settings import Settings
    from .options import check_kind, make

    if not groups["guide"]:
        return
    for method in methods:
        check_method(method, data)
        plain = Settings.of({**groups, "guide": {}})
        strategy = strategies_of(method)[0]
        if method in PROGRAMS:
            model = program_model(method, strategy, data, {}, 1, plain)
        else:
            model = make_model(method, strategy, data, networks if strategy == "evidence" else {}, plain)
        guide = guide_of(method, model, effort)
        chosen = {f.name: getattr(guide, f.name) for f in fields(guide)} | groups["guide"]
        made = make(type(guide), chosen, "guide")
        if method in KINDS:
            check_kind(method, made.weights)


def read_sources(prior: Sequence[str], gene_sets: Sequence[str]) -> dict[str, Any]:
    """Sources by name: prior networks, or libraries of gene sets."""
    from .options import read_gene_sets, read_priors

    return dict(read_gene_sets(gene_sets)) if gene_sets else dict(read_priors(prior))


def _check_prior(method: str, strategies: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    """Settings of the prior, for the priors of the strategies that the method has."""
    from ...inference.amortised import KINDS
    from ...priors import EDGE_PRIORS, NormalLoading, SpikeSlab
    from ..ablation.engines import EVIDENCE, HELD, OWN, PRIOR_ONLY, kebab, networks_by_name, strategies_of
    from ..ablation.program_models import LOADING_STRATEGIES, PROGRAMS
    from ..ablation.settings import own_prior
    from .options import make

    if not options:
        return
    known = strategies_of(method)
    for strategy in [s for s in strategies or known[:1] if s in known]:
        if "strategy" in options and strategy in (*HELD, "mask"):
            raise ValueError("--set prior.strategy: how knowledge enters is --strategy of ablate")
        kinds: dict[str, Any] = dict(LOADING_STRATEGIES) if method in PROGRAMS else {}
        kinds |= {} if method in PROGRAMS else {kebab(kind.__name__): kind for kind in EDGE_PRIORS}
        kinds |= dict.fromkeys((*HELD, "mask"), SpikeSlab)
        if strategy in (OWN, EVIDENCE):
            own: Any = NormalLoading if method in PROGRAMS else SpikeSlab
            if method not in PROGRAMS and method not in KINDS and method != PRIOR_ONLY:
                own = own_prior(networks_by_name()[method])
            make(own, options, "prior")
        else:
            make(kinds[strategy.removeprefix("mask:")], options, "prior")


def _check_partners(methods: Sequence[str], given: Mapping[str, Any]) -> None:
    """Refuse options of other methods, and say which source a method needs."""
    from ..ablation.program_models import PROGRAMS
    from ..ablation.subjects import subject_of

    subject_of(methods)
    programs = [method for method in methods if method in PROGRAMS]
    if programs and given["--prior"]:
        raise ValueError(
            f"--prior does not go with --method {programs[0]}, which infers gene programs: its sources are libraries "
            "of gene sets, --gene-sets LIBRARY=FILE.gmt"
        )
    if programs and not given["--gene-sets"]:
        raise ValueError(f"--method {programs[0]} needs --gene-sets LIBRARY=FILE.gmt, the sources that are ablated")
    if not programs:
        wrong = [option for option in OF_PROGRAMS if given[option] not in (None, [])]
        if wrong:
            raise ValueError(f"{wrong[0]} does not go with networks: it is for gene programs (--method muvi, ppca)")
        if not given["--prior"]:
            raise ValueError("ablate needs --prior NAME=FILE, the sources that are ablated (of programs --gene-sets)")
    for option in ("--factors", "--min-overlap"):
        if given[option] is not None and given[option] < (0 if option == "--factors" else 1):
            raise ValueError(f"{option} {given[option]}: expected at least {0 if option == '--factors' else 1}")
    cellbox = "cellbox" in methods
    wrong = [option for option in ("--inputs", "--nodes") if given[option] is not None]
    if wrong and (not cellbox or len(methods) > 1):
        raise ValueError(f"{wrong[0]} is for --method cellbox, alone: the other methods read no inputs")
    if cellbox and given["--inputs"] is None:
        raise ValueError("--method cellbox needs --inputs: a table of conditions x nodes with what acts on each node")
