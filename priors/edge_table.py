"""From a user's table of edges to the columns of a `PriorNetwork`, and the checks both share."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .formats.files import shorten, show
from .formats.weights import probability_from_confidence, probability_from_weight, sign_from_weight, sign_from_words
from .repeated_edges import DUPLICATES, conflicts, merge_repeated, merged_note, splitting_column

COLUMNS = ("source", "target", "probability", "sign", "evidence")

# Columns of an edge table with a meaning of their own; any other column only explains repeated edges.
MEANINGFUL = (*COLUMNS, "weight", "score", "confidence")


def interpret_edges(
    frame: pd.DataFrame, *, name: str, default_probability: float, duplicates: str, signed: bool | None
) -> pd.DataFrame:
    """The five `COLUMNS` from a table in any of the forms that `PriorNetwork.from_edges` describes; errors as there."""
    check_default(default_probability)
    if duplicates not in DUPLICATES:
        raise ValueError(f"`duplicates` is {duplicates!r}; expected 'error' or 'mean', 'conflict' or 'networks'")
    notes = list(frame.attrs.get("notes", ()))
    rows = len(frame)
    lacking = [c for c in ("source", "target") if c not in frame]
    if lacking:
        raise ValueError(f"edges of '{name}' lack column(s) {shorten(lacking)}; found {shorten(list(frame), 12)}")
    frame = frame.assign(**{c: clean_names(frame[c], c, name) for c in ("source", "target")})
    frame = _drop_zero_weights(frame, name)
    if frame.empty:
        raise ValueError(f"edges of '{name}': the table holds no edges")
    if len(frame) < rows:
        zero = rows - len(frame)
        notes.append("1 row of weight 0 is no edge" if zero == 1 else f"{zero} rows of weight 0 are no edges")
    probability, sign = _belief(frame, name, default_probability, signed)
    edges = pd.DataFrame(
        {
            "source": frame["source"],
            "target": frame["target"],
            "probability": probability,
            "sign": sign,
            "evidence": frame["evidence"].fillna(name).astype(str).replace("", name) if "evidence" in frame else name,
        }
    )
    repeated = edges.duplicated(["source", "target"]).to_numpy()
    if repeated.any():
        others = frame[[c for c in frame if c not in MEANINGFUL]]
        apart = duplicates == "networks" and splitting_column(others, edges) is not None
        if duplicates == "error" or apart or (duplicates == "conflict" and bool(conflicts(edges).any())):
            raise ValueError(_repeated_message(frame, edges, repeated, name))
        notes.append(merged_note(edges, repeated))
        edges = merge_repeated(edges)
    edges.attrs["notes"] = notes
    return edges


def _drop_zero_weights(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows whose weight is not 0, with ``weight`` and ``score`` as finite numbers."""
    for column in ("weight", "score"):
        if column in frame:
            number = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
            wrong = np.flatnonzero(~np.isfinite(number))
            if wrong.size:
                cell = frame[column].iloc[wrong[0]]
                raise ValueError(
                    f"edges of '{name}': row {wrong[0] + 1} has {column} {show(cell)}; expected a finite number"
                )
            frame = frame.assign(**{column: number})
    strength = next((c for c in ("weight", "score") if c in frame), None)
    if strength is not None and "probability" not in frame and "confidence" not in frame:
        frame = frame[frame[strength] != 0.0]
    return frame.reset_index(drop=True)


def _belief(frame: pd.DataFrame, name: str, default: float, signed: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Probability and sign of each row, shapes (row,)."""
    strength = next((c for c in ("weight", "score") if c in frame), None)
    if "probability" in frame:
        probability = pd.to_numeric(frame["probability"], errors="coerce").to_numpy(dtype=np.float64)
        check_probability(probability, name)
    elif "confidence" in frame:
        probability = probability_from_confidence(frame["confidence"])
    elif strength is not None:
        anchor = default if strength == "weight" else 0.5
        probability = probability_from_weight(np.abs(frame[strength].to_numpy()), anchor, default)
    else:
        probability = np.full(len(frame), default)
    if "sign" in frame:
        return probability, sign_from_words(frame["sign"], signed)
    if strength is not None:
        return probability, sign_from_weight(frame[strength].to_numpy(), signed)
    return probability, np.zeros(len(frame), dtype=np.int8)


def _repeated_message(frame: pd.DataFrame, edges: pd.DataFrame, repeated: np.ndarray, name: str) -> str:
    """Which pairs are repeated, and whether another column tells the rows apart."""
    row = int(np.flatnonzero(repeated)[0])
    same = ((edges["source"] == edges["source"][row]) & (edges["target"] == edges["target"][row])).to_numpy()
    examples = show_pairs(edges, np.flatnonzero(repeated))
    message = f"network '{name}': {int(repeated.sum())} edges are listed more than once, e.g. {examples}; "
    others = [c for c in frame if c not in MEANINGFUL and frame[c][same].duplicated().sum() < same.sum() - 1]
    for column in others:
        if not pd.concat([edges[["source", "target"]], frame[column]], axis=1).duplicated().any():
            values = pd.unique(frame[column]).tolist()
            return (
                message
                + f"column '{column}' tells them apart ({len(values)} values {shorten(values)}): choose one with where="
            )
    hint = f"the rows differ in {shorten(others)} (choose rows with where=), or " if others else ""
    return message + hint + "pass duplicates='mean' to merge them"


def clean_names(values: Iterable[object], column: str, network: str) -> np.ndarray:
    """Gene names as stripped strings, shape (edge,); missing or empty ones are refused."""
    names = np.array([_as_name(value) for value in values], dtype=object)
    empty = np.flatnonzero(names == "")
    if empty.size:
        raise ValueError(
            f"network '{network}': row {empty[0] + 1} has no {column} name ({empty.size} such rows); every edge needs "
            "both names"
        )
    return names


def _as_name(value: object) -> str:
    if isinstance(value, str):
        return value.strip() or value.strip(" \t")  # a name of line breaks only is one
    return "" if value is None or value is pd.NA or value != value else str(value)


def show_pairs(edges: pd.DataFrame, rows: np.ndarray) -> str:
    """The first three of ``rows`` as ``source -> target``, for a message."""
    return ", ".join(f"{s} -> {t}" for s, t in edges[["source", "target"]].iloc[rows[:3]].itertuples(index=False))


def check_probability(probability: np.ndarray, name: str) -> None:
    """``ValueError`` with the first row outside (0, 1) of the network ``name``."""
    wrong = np.flatnonzero(~((probability > 0.0) & (probability < 1.0)))
    if wrong.size:
        raise ValueError(
            f"network '{name}': row {wrong[0] + 1} has probability {probability[wrong[0]]:g} ({wrong.size} such rows); "
            "expected the open interval (0, 1): leave impossible edges out, and call certain ones 0.999"
        )


def check_default(probability: float) -> None:
    """``ValueError`` for a default probability outside (0, 1)."""
    if not 0.0 < probability < 1.0:
        raise ValueError(f"`default_probability` is {probability!r}; expected a number in the open interval (0, 1)")
