"""Pages that show a file of the repository, or list a folder; and notebooks as pages."""

import ast
import json
import re
from pathlib import Path
from typing import Any

STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
LARGEST = 60_000  # characters of a file that is shown whole


def file_page(root: Path, file: str) -> str:
    """Markdown that shows a file, or lists a folder with the first line of each module."""
    path = root / file
    if path.is_dir():
        names = sorted(p for p in path.iterdir() if not p.name.startswith((".", "__pycache__")))
        listed = "\n".join(f"- `{p.name}{'/' if p.is_dir() else ''}`{_said(p)}" for p in names)
        return f"# {file}/\n\n{listed}\n"
    text = path.read_text()
    if len(text) > LARGEST:
        text = text[:LARGEST].rpartition("\n")[0] + "\n"
    fence = "````" if "```" in text else "```"
    language = {".py": "python", ".cff": "yaml", ".toml": "toml"}.get(path.suffix, "text")
    return f"# {file}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def notebook_page(source: Path) -> str:
    """A notebook of the percent format as Markdown: its cells of text as text, its code as code, and the outputs of
    ``NAME.ipynb`` beside it, where that has the same code.

    Parameters
    ----------
    source
        ``NAME.py``.
    """
    notebook = source.with_suffix(".ipynb")
    cells = percent_cells(source.read_text())
    outputs: list[list[str]] = [[] for _ in cells]
    if notebook.exists():
        stored = json.loads(notebook.read_text())["cells"]
        if [(c["cell_type"] == "markdown", "".join(c["source"])) for c in stored] == cells:
            outputs = [[_output(one) for one in c.get("outputs", ())] for c in stored]
    pages: list[str] = []
    for (is_text, body), shown in zip(cells, outputs, strict=True):
        pages += [body if is_text else f"```python\n{body}\n```", *shown]
    return "\n\n".join(pages) + "\n"


def percent_cells(text: str) -> list[tuple[bool, str]]:
    """Whether each cell is text, and what is in it."""
    cells = []
    for cell in text.split("# %%")[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            lines = (line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            cells.append((True, "\n".join(lines)))
        elif body.strip():
            cells.append((False, body.strip()))
    return cells


def _output(output: dict[str, Any]) -> str:
    """Of a cell, as Markdown: a picture, a table, or text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f"![what this code draws](data:image/png;base64,{data['image/png'].strip()})"
    if "text/html" in data:
        table = STYLE.sub("", "".join(data["text/html"])).replace(' border="1" class="dataframe"', ' class="docutils"')
        lines = [line for line in table.splitlines() if line.strip()]  # a blank one would end the block
        return "\n".join(['<div class="table-wrapper">', *lines, "</div>"])
    if "text/plain" not in data:
        return "".join(data.get("text/markdown", data.get("text/latex", "")))
    return f"````text\n{''.join(data['text/plain']).rstrip()}\n````"


def _said(path: Path) -> str:
    """The first line of a module's docstring."""
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.exists():
        return ""
    found = ast.get_docstring(ast.parse(module.read_text()))
    return f": {found.partition(chr(10))[0]}" if found else ""
