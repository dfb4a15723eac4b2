"""Equations as MathML, which browsers draw without a script: docutils translates them."""

import re
from typing import Any

SIZES = re.compile(r"\\(?:(?:big|Big|bigg|Bigg)[lr]?|textstyle|displaystyle)(?![A-Za-z])")  # brackets stretch, sums fit
SHORT_FRACTION = re.compile(r"\\[td]?frac\s*(\d)\s*(\d)")
BARS = re.compile(r"(?<!\\)\|([^|\s][^|]*?)(?<!\\)\|")
INITIAL = re.compile(r"^(\s+)([A-Za-z])\. ")
SAME = {r"\tfrac": r"\frac", r"\dfrac": r"\frac", r"\operatorname": r"\mathrm", r"\lVert": r"\|", r"\rVert": r"\|"}


def mathml(tex: str, *, block: bool) -> str:
    r"""An equation as MathML.

    Raises
    ------
    ValueError
        A command that docutils does not know.
    """
    from docutils.utils.math import MathError
    from docutils.utils.math.latex2mathml import tex2mathml

    plain = SHORT_FRACTION.sub(r"\\frac{\1}{\2}", SIZES.sub("", tex))
    for name, other in SAME.items():
        plain = plain.replace(name, other)
    try:
        return str(tex2mathml(plain, as_block=block))
    except MathError as error:
        raise ValueError(f"equation {tex!r}: {error}") from error


def setup(app: Any) -> dict[str, Any]:
    """Sphinx's way to add a renderer."""
    app.connect("autodoc-process-docstring", lambda *given: as_meant(given[-1]))
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def as_meant(lines: list[str]) -> None:
    """In docstrings ``|W|`` is an absolute value and no substitution, and ``s. Default 1`` no first item of a list."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [BARS.sub(r"\\|\1\\|", part) for part in parts[::2]]  # not in literal text
        lines[number] = INITIAL.sub(r"\1\2\\. ", "``".join(parts))


def _inline(translator: Any, node: Any) -> None:
    _write(translator, node, block=False)


def _block(translator: Any, node: Any) -> None:
    _write(translator, node, block=True)


def _write(translator: Any, node: Any, *, block: bool) -> None:
    from docutils.nodes import SkipNode
    from sphinx.util import logging

    try:
        translator.body.append(mathml(node.astext(), block=block))
    except ValueError as error:  # a warning, which the strict build refuses
        logging.getLogger(__name__).warning(str(error), location=node)
    raise SkipNode
