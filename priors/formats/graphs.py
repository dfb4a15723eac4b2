"""GraphML, GEXF and the json of Cytoscape: graphs with attributes on their edges, as Cytoscape, Gephi and networkx
exchange them."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .edges import is_posterior, read_edges, read_posterior
from .files import RawFile, reason, write_text

if TYPE_CHECKING:
    import networkx

PEEKED = 2000  # letters in which the root element stands
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # letters that no XML can hold
NUMBERS = (int, float)


def graph_of(frame: pd.DataFrame) -> "networkx.DiGraph":
    """A directed graph with all columns of a table of edges but ``source`` and ``target`` as attributes of its edges.

    Missing numbers are left out.
    """
    import networkx  # here: it takes a tenth of a second, and few files are graphs

    graph = networkx.DiGraph()
    for row in frame.to_dict("records"):
        told = {str(k): _plain(v) for k, v in row.items() if k not in ("source", "target") and v == v}
        graph.add_edge(str(row["source"]), str(row["target"]), **told)
    return graph


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's."""
    return value.item() if hasattr(value, "item") else value


def write_graphml(frame: pd.DataFrame, path: Path) -> None:
    """GraphML, as networkx writes it; any columns beside source and target are attributes of the edges."""
    import networkx

    _check_names(frame, path)
    write_text(path, "\n".join(networkx.generate_graphml(graph_of(frame), named_key_ids=True)) + "\n")


def write_gexf(frame: pd.DataFrame, path: Path) -> None:
    """GEXF 1.2, as networkx writes it, without the day on which it was."""
    import networkx

    _check_names(frame, path)
    text = "\n".join(networkx.generate_gexf(graph_of(frame))) + "\n"
    write_text(path, re.sub(r' lastmodifieddate="[^"]*"', "", text))


def write_cytoscape(frame: pd.DataFrame, path: Path) -> None:
    """Json of Cytoscape (``.cyjs``), as networkx writes it."""
    import networkx

    write_text(path, json.dumps(networkx.cytoscape_data(graph_of(frame)), indent=1) + "\n")


def _check_names(frame: pd.DataFrame, path: Path) -> None:
    for name in (*frame["source"], *frame["target"]):
        if NOT_XML.search(str(name)):
            raise ValueError(f"{path}: {str(name)!r} has letters that XML cannot hold: choose another format")


def is_graphml(raw: RawFile) -> bool:
    """A text whose root element is graphml."""
    return raw.kind == "text" and "<graphml" in raw.text[:PEEKED]


def is_gexf(raw: RawFile) -> bool:
    """A text whose root element is gexf."""
    return raw.kind == "text" and "<gexf" in raw.text[:PEEKED]


def is_cytoscape(raw: RawFile) -> bool:
    """A json object with elements."""
    return raw.kind == "text" and raw.text.lstrip()[:1] == "{" and '"elements"' in raw.text


def read_cytoscape(raw: RawFile) -> pd.DataFrame:
    """Edges and their attributes, as of `read_graphml`; of networkx's json and of that of the program, whose nodes
    have no ``value``, which networkx asks for."""
    import networkx

    def graph() -> "networkx.Graph":
        told = json.loads(raw.text)
        made = networkx.DiGraph() if told.get("directed", True) else networkx.Graph()
        for node in told["elements"]["nodes"]:
            made.add_node(str(node["data"]["id"]), **{k: v for k, v in node["data"].items() if k != "id"})
        for edge in told["elements"]["edges"]:
            made.add_edge(str(edge["data"]["source"]), str(edge["data"]["target"]), **edge["data"])
        return made

    return _edges(raw, graph)


def read_graphml(raw: RawFile) -> pd.DataFrame:
    """Edges and their attributes, which mean what the columns of a table of these names do."""
    import networkx

    return _edges(raw, lambda: networkx.parse_graphml(raw.text))


def read_gexf(raw: RawFile) -> pd.DataFrame:
    """Edges and their attributes, as of `read_graphml`."""
    import networkx

    return _edges(raw, lambda: networkx.read_gexf(io.BytesIO(raw.text.encode())))


def _edges(raw: RawFile, read: Callable[[], Any]) -> pd.DataFrame:
    if "<!DOCTYPE" in raw.text or "<!ENTITY" in raw.text:
        raise raw.fail("declares a document type or entities, which no graph needs: write it again without")
    try:
        graph = read()
    except Exception as error:  # whatever a damaged file makes of the parser
        raise raw.fail(f"not a readable graph ({reason(error)}): write it again") from None
    labels = {node: str(told.get("name", told.get("label", node))) for node, told in graph.nodes(data=True)}
    # of the programs
    own = {"id", "label", "shared name", "shared interaction", "SUID", "interaction", "name", "source", "target", "key"}
    own |= {"selected", "shared_name", "shared_interaction"}
    rows = [
        {"source": labels[a], "target": labels[b], **{k: v for k, v in told.items() if k not in own}}
        for a, b, told in graph.edges(data=True)
    ]
    if not graph.is_directed():
        rows += [{**row, "source": row["target"], "target": row["source"]} for row in rows]
    if not rows:
        raise raw.fail("the graph has no edges")
    table = pd.DataFrame(rows)
    if "probability" in table and "weight" in table:  # GEXF's own weight of an edge
        table = table.drop(columns="weight")
    text = table.to_csv(index=False)
    as_table = RawFile(
        raw.path, "text", text, ",", tuple(tuple(map(str, r)) for r in [list(table), *table.values[:50]])
    )
    return read_posterior(as_table) if is_posterior(as_table) else read_edges(as_table)
