"""Figures as SVG inside a page: no file beside it, sharp at any size and in print.

A figure goes in whole, or in its panels, which a narrow screen shows one below the other; a network goes in as elements
of the page, with what each gene and edge is where the pointer rests on it.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .. import figures
from .hover import edge_words, gene_words

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREF = f"{{{XLINK}}}href"
POINTS_TO_PIXELS = 100 / 72  # a figure of an inch is 100 pixels wide in the page
EDGE = 4.0  # points around a panel
CATCH = 9.0  # points: width of the unseen line around an edge that the pointer finds
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def picture(figure: Figure, caption: str) -> str:
    """A figure as one picture with its caption."""
    image = _image(_svg(figure), figure.get_figwidth() * 72, caption)
    return f"<figure>{image}{_caption(caption)}</figure>"


def panels(figure: Figure, caption: str) -> str:
    """A figure whose axes share nothing, each a picture of its own, side by side where there is room; then what
    belongs to all of them, as a legend. A title of the whole figure becomes text."""
    title = figure.get_suptitle()
    if title:
        figure.suptitle("")
    pieces = [ax for ax in figure.axes if ax.axison]
    shared = [*figure.legends, *(text for text in figure.texts if text.get_text())]
    for i, artist in enumerate([*pieces, *shared]):
        artist.set_gid(f"piece{i}")
    root = ET.fromstring(_svg(figure))
    groups = {str(g.get("id")): g for g in root.iter(f"{{{SVG}}}g")}
    parts = {str(part.get("id")): part for part in _parts(root)}
    figure.dpi = 72  # extents in points
    height = figure.get_figheight() * 72
    images = []
    for i, artist in enumerate([*pieces, *shared]):
        box = artist.get_tightbbox() if isinstance(artist, Axes) else artist.get_window_extent()
        assert box is not None, "what is drawn has an extent"
        x, y, width = box.x0 - EDGE, height - box.y1 - EDGE, box.width + 2 * EDGE
        view = (x, y, width, box.height + 2 * EDGE)
        name = (artist.get_title(loc="left") or caption) if isinstance(artist, Axes) else ""
        images.append(_image(_cut(groups[f"piece{i}"], parts, view), width, name))
    head = f'<div class="over">{escape(title)}</div>' if title else ""
    first, rest = "".join(images[: len(pieces)]), "".join(images[len(pieces) :])
    return f'<figure>{head}<div class="panels">{first}</div>{rest}{_caption(caption)}</figure>'


def network(edges: pd.DataFrame, caption: str, *, tfs: set[str], degrees: pd.DataFrame | None = None) -> str:
    """The edges of a table as a network whose genes and edges say what they are.

    Parameters
    ----------
    edges
        ``source, target, weight, lower, upper, inclusion``, best first.
    caption
        Of the picture.
    tfs
        Names of the regulators.
    degrees
        Expected numbers of targets ``source, mean``; None: left out.
    """
    figure = figures.network_picture(edges, tfs=tfs, count=len(edges))
    root = ET.fromstring(_svg(figure))
    groups = {str(g.get("id")): g for g in root.iter(f"{{{SVG}}}g")}
    for i, row in enumerate(edges.to_dict("records")):
        group = groups[f"edge{i}"]
        data = {"data-source": str(row["source"]), "data-target": str(row["target"])}
        _tell(group, "edge", edge_words(row), data | {"data-sure": f"{row['inclusion']:.4f}"})
        line = group.find(f"{{{SVG}}}path")
        assert line is not None, "an arrow has a line"
        unseen = {"d": str(line.get("d")), "class": "catch"}
        group.insert(1, ET.Element(f"{{{SVG}}}path", unseen | {"style": f"stroke-width: {CATCH:g}"}))
    for i, name in enumerate(dict.fromkeys([*edges["source"], *edges["target"]])):
        words = gene_words(name, edges, regulator=name in tfs, degrees=degrees)
        for kind in ("box", "name"):
            _tell(groups[f"{kind}{i}"], "gene", words, {"data-gene": str(name)})
    width, height = (72 * side for side in figure.get_size_inches())
    new = ET.Element(f"{{{SVG}}}svg", {"viewBox": f"0 0 {width:g} {height:g}", "class": "network", "role": "img"})
    new.set("aria-label", caption)
    new.set("style", f"--w:{width * POINTS_TO_PIXELS:.0f}px")
    new.extend(child for child in root if child.tag != f"{{{SVG}}}metadata")
    for style in [d for d in new.iter(f"{{{SVG}}}defs") if d.find(f"{{{SVG}}}style") is not None]:
        style.remove(style[0])  # it would be that of the whole page
    _shorten(new)
    text = ET.tostring(new, encoding="unicode")
    for name in (f' xmlns="{SVG}"', f' xmlns:xlink="{XLINK}"'):  # of a document; a page knows them
        text = text.replace(name, "", 1)
    return f'<figure>{text}<div class="told soft" aria-live="polite"></div>{_caption(caption)}</figure>'


def _tell(group: ET.Element, kind: str, words: str, data: dict[str, str]) -> None:
    """Make a group of the picture an ``edge`` or a ``gene`` that says ``words``."""
    title = ET.Element(f"{{{SVG}}}title")
    title.text = words
    group.insert(0, title)
    group.set("class", kind)
    del group.attrib["id"]
    for name, value in data.items():
        group.set(name, value)


def _shorten(root: ET.Element) -> None:
    """Leave out names of groups that nothing refers to, and line breaks: they are a third of the text."""
    for element in root.iter():
        if element.tag == f"{{{SVG}}}g" and "id" in element.attrib:
            del element.attrib["id"]
        if "d" in element.attrib:
            element.set("d", " ".join(element.attrib["d"].split()))
        if element.tag != f"{{{SVG}}}title":
            element.text = None
        element.tail = None


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "pyrogrn", "svg.fonttype": "path"}):  # the same figure gives the same bytes
        _lay_out(figure)
        figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None})
    return stream.getvalue()


def _image(svg: bytes, width: float, words: str) -> str:
    """``width`` in points."""
    data = base64.b64encode(svg).decode()
    pixels = round(width * POINTS_TO_PIXELS)
    return f'<img style="--w:{pixels}px" alt="{escape(words)}" src="data:image/svg+xml;base64,{data}">'


def _caption(words: str) -> str:
    return f"<figcaption>{escape(words)}</figcaption>"


def _parts(root: ET.Element) -> Iterator[ET.Element]:
    """What the picture refers to by name: markers, letters, clips."""
    for group in root.iter(f"{{{SVG}}}defs"):
        yield from (part for part in group if part.get("id"))


def _cut(group: ET.Element, parts: dict[str, ET.Element], view: Sequence[float]) -> bytes:
    """A group of a picture as a picture of its own, with the parts that it refers to."""
    needed: dict[str, ET.Element] = {}
    queue = [group]
    while queue:
        for name in _names(queue.pop()):
            if name in parts and name not in needed:
                needed[name] = parts[name]
                queue.append(parts[name])
    x, y, width, height = view
    size = {"width": f"{width:g}pt", "height": f"{height:g}pt", "viewBox": f"{x:g} {y:g} {width:g} {height:g}"}
    root = ET.Element(f"{{{SVG}}}svg", size | {"version": "1.1"})
    defs = ET.SubElement(root, f"{{{SVG}}}defs")
    ET.SubElement(defs, f"{{{SVG}}}style").text = "*{stroke-linejoin: round; stroke-linecap: butt}"
    defs.extend(needed.values())
    root.append(group)
    for parent in list(group.iter()):
        for inner in parent.findall(f"{{{SVG}}}defs"):
            parent.remove(inner)
    return ET.tostring(root)


def _names(element: ET.Element) -> Iterator[str]:
    for part in element.iter():
        if HREF in part.attrib:
            yield part.attrib[HREF].removeprefix("#")
        for value in part.attrib.values():
            yield from re.findall(r"url\(#([^)]*)\)", value)


def _lay_out(figure: Figure) -> None:
    """Place the axes as the figure's layout has them, which is then done: `savefig` would draw everything once before,
    only to have it laid out."""
    layout = figure.get_layout_engine()
    if layout is None:
        return
    FigureCanvasSVG(figure)  # measures text as it will be drawn
    figure.dpi = 72
    layout.execute(figure)
    figure.set_layout_engine(None)
