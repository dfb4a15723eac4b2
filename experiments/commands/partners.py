"""Options that do nothing without another one: given alone they are refused, and the other is named."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Partner(NamedTuple):
    """``option`` needs one of ``needs``; ``what`` it is for, in words."""

    option: str
    needs: tuple[str, ...]
    what: str


OF_READING = (
    Partner("--unmeasured", ("--perturbation-key",), "the column with the perturbed gene of each cell"),
    Partner("--control", ("--perturbation-key",), "the column with the perturbed gene of each cell"),
    Partner("--trajectory-key", ("--time-key",), "the column with the time of each cell"),
    Partner("--metacells", ("--time-key",), "the column with the time of each cell"),
)
OF_INFER = (
    *OF_READING,
    Partner("--min-overlap", ("--gene-sets",), "the sets whose overlap is counted"),
)
OF_ABLATE = (
    *OF_READING,
    Partner("--all-regulators", ("--truth",), "the known network that is scored against"),
    Partner("--damage", ("--corrupt", "--flip", "--drop", "--hold-out", "--shuffle"), "the damage that is done"),
)
OF_CALIBRATE = (*OF_READING, Partner("--moved", ("--prior",), "the source whose edges are moved"))
NOT_GIVEN: tuple[object, ...] = (None, False, "", [], ())


def check_partners(partners: Sequence[Partner], given: Mapping[str, Any]) -> None:
    """Refuse an option whose partner is missing.

    Parameters
    ----------
    partners
        What needs what.
    given
        Values by option; ``None``, ``False``, empty text and empty lists are not given.

    Raises
    ------
    ValueError
        Which option, and what it needs.
    """
    for option, needs, what in partners:
        if not _is_given(given.get(option)) or any(_is_given(given.get(need)) for need in needs):
            continue
        raise ValueError(f"{option} does nothing without {' or '.join(needs)}: name {what}, or leave {option} out")


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Values by option from values by Python name."""
    return {"--" + name.replace("_", "-"): value for name, value in arguments.items()}


def _is_given(value: object) -> bool:
    return not any(value is none or (isinstance(value, str | list | tuple) and value == none) for none in NOT_GIVEN)
