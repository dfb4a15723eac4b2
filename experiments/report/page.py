"""The frame of report.html: style sheet and small builders of HTML. Everything that comes from a user is escaped.

No template engine: pages are tables and pictures of what was found, put together by the functions that found it, and a
builder that escapes is all that a template would add.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ..signs import sign_word
from .script import HASH, SCRIPT

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --line: #d9dee4; --page: #f5f7fa; --card: #ffffff;
  --blue: #0072b2; --red: #b34e00; --green: #00734f; --good: #e3f5ee; --bad: #fdeadf; --none: #eef1f4; --bar: #bcdcef;
  --shade: #7b879466; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3b0bd; --line: #3e4c59; --page: #14191f;
  --card: #1f262e; --blue: #6cb8ea; --red: #ff9f5c; --green: #4fd0a3; --good: #12382c; --bad: #45260f;
  --none: #2b343d; --bar: #1f4a66; --shade: #000000b0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 2px; }
h2 { font-size: 19px; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 0 0 10px; max-width: 78ch; }
ul { margin: 0 0 10px; padding-left: 20px; max-width: 78ch; }
a { color: var(--blue); }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code span { white-space: nowrap; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; margin: 0 0 10px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.lead { font-size: 17px; line-height: 1.5; margin: 12px 0; max-width: none; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px 14px;
  margin: 18px 0; }
nav { margin: 10px 0 0; font-size: 13.5px; }
nav a { display: inline-block; margin-right: 14px; text-decoration: none; }
.badge { display: inline-block; border-radius: 999px; padding: 2px 12px; margin: 0 6px 6px 0; font-size: 13.5px;
  font-weight: 600; }
.good { background: var(--good); color: var(--green); }
.bad { background: var(--bad); color: var(--red); }
.none { background: var(--none); color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(124px, 1fr)); gap: 10px; margin: 6px 0 14px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.tile strong { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
figure { margin: 8px 0 16px; overflow-x: auto; }
figure img, svg.network { display: block; width: var(--w); max-width: 100%; height: auto; margin: 0 auto; padding: 8px;
  background: #fff; border-radius: 8px; border: 1px solid var(--line); }
.panels { display: flex; flex-wrap: wrap; justify-content: center; gap: 6px; }
.panels img { margin: 0; }
.panels + img { border: none; margin-top: 6px; padding: 4px; }
.over { font-weight: 600; font-size: 14px; margin: 0 auto 6px; max-width: 84ch; }
.edge .catch { fill: none; stroke: transparent; pointer-events: stroke; }
.edge:hover path:not(.catch) { stroke-width: 4; }
.gene { cursor: pointer; }
.edge.off, .gene.off, .near .edge:not(.on), .near .gene:not(.on) { opacity: 0.12; }
.told { min-height: 1.5em; white-space: pre-line; font-size: 13.5px; margin: 6px auto 0; max-width: 84ch; }
figcaption { color: var(--soft); font-size: 13.5px; margin: 6px auto 0; max-width: 84ch; }
.scroll { background: linear-gradient(to right, var(--card) 30%, transparent) left / 40px 100% local,
  linear-gradient(to left, var(--card) 30%, transparent) right / 40px 100% local,
  linear-gradient(to right, var(--shade), transparent) left / 14px 100% scroll,
  linear-gradient(to left, var(--shade), transparent) right / 14px 100% scroll; background-repeat: no-repeat; }
.scroll { overflow: auto; margin: 0 0 12px; max-height: 80vh; }
.narrow { display: none; }
thead th { position: sticky; top: 0; background: var(--card); }
th[role=button] { cursor: pointer; }
th[role=button]:hover, th[role=button]:focus-visible { color: var(--blue); }
th[aria-sort=descending]::after { content: " \\2193"; }
th[aria-sort=ascending]::after { content: " \\2191"; }
.tools { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; margin: 4px 0 8px; font-size: 13.5px; }
.tools input[type=search] { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--line);
  border-radius: 6px; padding: 3px 9px; width: 15em; max-width: 100%; }
.tools label { display: flex; align-items: center; gap: 6px; }
td.again { color: var(--soft); font-weight: 400; }
table { border-collapse: collapse; font-size: 13.5px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
.many th, .many th.number { white-space: normal; vertical-align: bottom; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.gene { font-weight: 600; white-space: nowrap; }
td.gene.long { white-space: normal; overflow-wrap: anywhere; min-width: 11em; max-width: 17em; }
td.up { color: var(--blue); font-weight: 600; }
td.down { color: var(--red); font-weight: 600; }
td.wide { min-width: 260px; }
td .badge { margin: 0; padding: 0 9px; font-size: 12.5px; }
dl { margin: 0 0 10px; display: grid; grid-template-columns: max-content 1fr; gap: 5px 16px; }
dt { font-weight: 600; } dd { margin: 0; max-width: 74ch; }
@media (max-width: 600px) { dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; }
  main { padding: 16px 8px 40px; } section { padding: 14px 12px 10px; }
  table { font-size: 13px; } th, td { padding: 4px 4px; } th, th.number { white-space: normal; vertical-align: bottom; }
  td.gene { white-space: normal; overflow-wrap: anywhere; min-width: 4.4em; max-width: 9em; }
  td.wide { min-width: 150px; }
  .detail { display: none; } .narrow { display: block; font-size: 13px; }
  figure img { max-width: none; width: max(min(var(--w), 100%), calc(0.5 * var(--w))); padding: 4px; }
  svg.network { max-width: none; width: max(100%, calc(0.8 * var(--w))); padding: 4px; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --page: #fff; --card: #fff;
  --blue: #0072b2; --red: #b34e00; --green: #00734f; --good: #e3f5ee; --bad: #fdeadf; --none: #eee; --bar: #bcdcef; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 11px; } .lead { font-size: 13.5px; } figcaption { font-size: 10px; }
  main { max-width: none; padding: 0; } nav { display: none; }
  section { border: none; padding: 6px 0; margin: 8px 0; } .scroll { overflow: visible; max-height: none; }
  .tools { display: none; } thead th { position: static; }
  table { font-size: 9.5px; } th, td { padding: 2px 5px; } figure, tr, .tile { break-inside: avoid; }
  h2, h3 { break-after: avoid; } }
"""
# a report is one file with one script of its own: whatever a gene is called, nothing else is run, nothing is fetched
POLICY = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{HASH}'"


def page(title: str, body: str) -> str:
    """A whole document; ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def section(anchor: str, title: str, *content: str) -> str:
    """A card with a heading; ``content`` is HTML."""
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n' + "\n".join(c for c in content if c) + "\n</section>"


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def listing(items: Iterable[str]) -> str:
    """Plain texts as bullets; nothing for none."""
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def badge(text: str, passed: bool | None) -> str:
    """A coloured label: True good, False bad, None neither."""
    kind = {True: "good", False: "bad", None: "none"}[passed]
    return f'<span class="badge {kind}">{escape(text)}</span>'


def tiles(values: Mapping[str, str]) -> str:
    """Numbers with what they count."""
    cells = (f'<div class="tile"><strong>{escape(v)}</strong><span>{escape(k)}</span></div>' for k, v in values.items())
    return f'<div class="tiles">{"".join(cells)}</div>'


def glossary(entries: Mapping[str, str]) -> str:
    """Terms and what they mean."""
    rows = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in entries.items())
    return f"<dl>{''.join(rows)}</dl>"


class Cell(str):
    """A table cell that is HTML already, with its CSS class in ``kind``."""

    kind: str

    def __new__(cls, html: str, kind: str = "") -> "Cell":
        cell = super().__new__(cls, html)
        cell.kind = kind
        return cell


def sign_cell(weight: float) -> Cell:
    """What a regulator does to its target, in the colour of it."""
    return Cell(sign_word(weight), "" if weight == 0 else "up" if weight > 0 else "down")


MANY = 6  # columns, beyond which their names may break
WIDER = "Turned, or on a wider screen, the table has more columns."


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[str] = (),
    detail: Sequence[str] = (),
    ranks: bool = False,
) -> str:
    """A table of plain texts and `Cell`; columns in ``numeric`` are aligned to the right, those in ``detail`` are left
    out where the screen is narrow, which is said there. ``ranks``: its probabilities promise no share of errors."""
    classes = [
        " ".join(word for word, names in (("number", numeric), ("detail", detail)) if name in names) for name in header
    ]
    head = "".join(f"<th{_kind(kind)}>{escape(n)}</th>" for n, kind in zip(header, classes, strict=True))
    body = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            kind, html = (cell.kind, str(cell)) if isinstance(cell, Cell) else ("", escape(dashed(cell)))
            cells.append(f"<td{_kind(f'{kind} {classes[i]}'.strip())}>{html}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<p class="narrow soft">{WIDER}</p>' if detail else ""
    many = _kind("many" if len(header) > MANY else "") + (' data-ranks="yes"' if ranks else "")
    whole = f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="scroll"><table{many}>{whole}</table></div>{more}'


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


NOTHING = re.compile(r"(?<!\w)[+×]?nan%?(?!\w)")


def dashed(text: str) -> str:
    """A number that is not known, alone or in a range, as a dash."""
    return NOTHING.sub("–", text).replace(" (– to –)", "").replace("– to –", "–") if "nan" in text else text


def bar(share: float, text: str) -> Cell:
    """A cell with a bar behind its number; without one where it is not known."""
    if math.isnan(share):
        return Cell("–")
    width = f"{100 * min(max(share, 0), 1):.0f}%"
    back = f"background:linear-gradient(to right,var(--bar) {width},transparent {width})"
    return Cell(f'<div style="{back};padding:0 4px;border-radius:3px">{escape(text)}</div>')
