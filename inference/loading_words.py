"""The words of diagnostics for models of programs."""

import pandas as pd


def of_loadings(table: pd.DataFrame) -> pd.DataFrame:
    """The same checks in the words of programs: what networks call edges are loadings there."""
    for column in ("check", "meaning"):
        for network, program in ((r"\bedges\b", "loadings"), (r"\bedge\b", "loading"), ("^Edge", "Membership")):
            table[column] = table[column].str.replace(network, program, regex=True)
    return table
