"""`Check`: one row of the table of checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One row: ``passed`` is None where a check does not apply or only informs."""

    check: str
    value: float | str
    threshold: float | str
    passed: bool | None
    meaning: str
