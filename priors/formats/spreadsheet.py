"""Names in tables that people open in spreadsheets: none is taken for a formula there, and none is changed on the way.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break is a formula to a spreadsheet, whatever quotes
the csv has around it, and a name out of a file from elsewhere may then fetch or run something. As OWASP advises (*CSV
injection*), tables of results have an apostrophe before such a name: ``'=A``. So has ``#A``, which readers of tables
take for a comment. That rule alone would change names; here it can be undone: a name that begins with apostrophes and
then one of these characters gets one more. `restored` takes one away again, and every reader of the package for tables
of edges and lists of names does. Other names, and all numbers, are written as they are.
"""

import io
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

FORMULA = re.compile(r"^'*[=+\-@#\t\r\n]")
RESTORED = re.compile(r"^'(?='*[=+\-@#\t\r\n])")
# what pandas takes for no value, outside the columns of names
NO_VALUE = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)


def protected(name: str) -> str:
    """A name as tables of results have it.

    Examples
    --------
    >>> [protected(name) for name in ("SPI1", "=A", "'=A", "'A")]
    ['SPI1', "'=A", "''=A", "'A"]
    """
    return f"'{name}" if FORMULA.match(name) else name


def restored(name: str) -> str:
    """The name that was protected; any other as it is.

    Examples
    --------
    >>> [restored(name) for name in ("SPI1", "'=A", "''=A", "'A")]
    ['SPI1', '=A', "'=A", "'A"]
    """
    return RESTORED.sub("", name, count=1)


def protect_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every text in it, in its header and in its index protected; numbers are left alone."""
    safe = table.copy(deep=False)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "fiubc":
            column = table.iloc[:, place]
            safe.isetitem(place, _texts(column))
    safe.columns = pd.Index([_text(name) for name in table.columns], name=table.columns.name)
    if table.index.dtype.kind not in "fiubc" and table.index.nlevels == 1:
        safe.index = pd.Index([_text(name) for name in table.index], name=table.index.name)
    return safe


def _texts(column: pd.Series) -> np.ndarray:
    """Each different name is looked at once: there are as many as genes, not as edges."""
    values = column.to_numpy(dtype=object)
    safe = {name: protected(name) for name in set(v for v in values if isinstance(v, str))}
    found = np.empty(len(values), dtype=object)
    found[:] = [safe[v] if isinstance(v, str) else v for v in values]
    return found


def restore_names(table: pd.DataFrame, columns: tuple[str, ...] = ("source", "target")) -> pd.DataFrame:
    """The table with the names in these columns, where it has them, as they were before they were protected."""
    changed = {}
    for column in columns:
        if column in table and any(isinstance(v, str) and v.startswith("'") for v in table[column].unique()):
            changed[column] = [restored(v) if isinstance(v, str) else v for v in table[column]]
    return table.assign(**changed) if changed else table


def _text(value: object) -> object:
    return protected(value) if isinstance(value, str) else value


def read_named(text: str, separator: str, names: Sequence[str] | None = ("source", "target")) -> pd.DataFrame:
    """A table with a header, its columns of ``names`` (None: the first) as the text they are: NA and nan are names of
    genes there, and only an empty cell is none. In other columns what pandas takes for no value is NaN.

    Raises
    ------
    ValueError
        What pandas says of a table that is none.
    """
    header = list(pd.read_csv(io.StringIO(text), sep=separator, nrows=0).columns)
    named = header[:1] if names is None else [column for column in names if column in header]
    missing = {column: [""] if column in named else list(NO_VALUE) for column in header}
    kinds = dict.fromkeys(named, str)
    return pd.read_csv(io.StringIO(text), sep=separator, dtype=kinds, keep_default_na=False, na_values=missing)
