"""Pages that show a file of the repository, or list a folder; and notebooks as pages."""

import ast
from pathlib import Path

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


def notebook_page(text: str) -> str:
    """A notebook of the percent format as Markdown: its cells of text as text, its code as code."""
    pages: list[str] = []
    for cell in text.split("# %%")[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            pages.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()))
        elif body.strip():
            pages.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(pages) + "\n"


def _said(path: Path) -> str:
    """The first line of a module's docstring."""
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.exists():
        return ""
    found = ast.get_docstring(ast.parse(module.read_text()))
    return f": {found.partition(chr(10))[0]}" if found else ""
