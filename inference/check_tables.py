"""The table of checks in a line, and as records."""

import math
from typing import Any

import pandas as pd

COLUMNS = ("check", "value", "threshold", "passed", "meaning")


def verdict(table: pd.DataFrame) -> str:
    """One line: which checks failed."""
    failed = [str(c) for c, p in zip(table["check"], table["passed"], strict=True) if p is False]
    applied = sum(p is not None for p in table["passed"])
    if not failed:
        return f"all {applied} checks that apply passed"
    return f"{len(failed)} of {applied} checks failed: {', '.join(failed)}"


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries ready for JSON: what is not finite becomes null."""
    plain = lambda v: None if isinstance(v, float) and not math.isfinite(v) else v
    return [{name: plain(row[name]) for name in COLUMNS} for row in table.to_dict("records")]
