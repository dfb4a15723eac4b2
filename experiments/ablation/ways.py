"""How knowledge enters each method of an experiment: strategies, and how far sources are believed."""

from collections.abc import Sequence

from .changes import Change
from .engines import EVIDENCE, HELD, OWN, SAMPLED, STRATEGIES, strategies_of
from .program_models import LOADING_STRATEGIES, method_notes

Ways = list[tuple[str, str | float]]  # strategies with their trust


def ways_of_all(
    methods: Sequence[str],
    strategies: Sequence[str] | None,
    trust: Sequence[str | float],
    changes: Sequence[Change],
) -> tuple[dict[str, Ways], list[str]]:
    """How knowledge enters each method, and what is to be said of methods.

    Raises
    ------
    ValueError
        Targets are to be held out of a method that would read them as targets without regulators.
    """
    ways: dict[str, Ways] = {}
    notes: list[str] = []
    for method in methods:
        ways[method], dropped = _ways(method, strategies, trust)
        notes += dropped + method_notes(method)
        if ways[method] == [(EVIDENCE, SAMPLED)] and any(change.damage == "held-out" for change in changes):
            raise ValueError(
                f"method {method} reads a target without an edge in a list as one without regulators, so none can be "
                "held out: leave out the changes 'held-out', or the method"
            )
    return ways, notes


def level_name(level: str | float) -> str:
    """A trust as tables call it."""
    if level == SAMPLED:
        return SAMPLED
    if isinstance(level, str | bool) or not 0 <= level < float("inf"):
        raise ValueError(f"trust {level!r}: expected 'sampled' or a number of at least 0")
    return f"{float(level):g}"


def _ways(method: str, strategies: Sequence[str] | None, trust: Sequence[str | float]) -> tuple[Ways, list[str]]:
    """Strategies and trusts of a method, and notes on those that it does not take.

    ``ValueError`` for a strategy that no method has, and where the method takes none of the strategies or trusts.
    """
    known = strategies_of(method)
    wanted = list(known[:1] if strategies is None else strategies)
    for strategy in wanted:
        every = dict.fromkeys((*STRATEGIES, *LOADING_STRATEGIES, EVIDENCE, OWN))
        if strategy not in every:
            raise ValueError(f"unknown strategy {strategy!r}: choose one of {', '.join(every)}")
    fitting = [strategy for strategy in wanted if strategy in known]
    if not fitting:
        raise ValueError(
            f"method {method} takes none of the strategies {wanted}: add one that it has ({', '.join(known)}), or "
            "leave the method out"
        )
    notes = [f"method {method} has no strategy '{strategy}': not run" for strategy in wanted if strategy not in known]
    ways: Ways = []
    for strategy in fitting:
        # a mask uses its sources up, and other families have no engine that holds the trust
        levels = [level for level in trust if strategy in HELD or level == SAMPLED]
        ways += [(strategy, level) for level in levels]
        notes += [
            f"method {method} with strategy '{strategy}' has no trust to hold at {level_name(level)}: not run"
            for level in trust
            if level not in levels
        ]
    if not ways:
        raise ValueError(
            f"method {method} with strategies {fitting} has no trust to hold: add 'sampled' to the trusts, or one of "
            f"the strategies {', '.join(HELD)}"
        )
    return ways, notes
