"""Imports go one way: priors -> models -> inference -> experiments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("priors", "models", "inference", "experiments")
FILES = sorted(file for folder in ORDER for file in (ROOT / folder).rglob("*.py"))


def imported_packages(file: Path) -> set[str]:
    """Names of the four folders that a file imports from, at any place in it."""
    found = set()
    here = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            path = (*base, *(node.module or "").split("."))
            names = [(*path, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [tuple((node.module or "").split("."))]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in names:
            parts = [p for p in name if p]
            if parts and parts[0] == "pyrogrn":
                parts = parts[1:]
            if parts and parts[0] in ORDER:
                found.add(parts[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_only_from_the_left(file):
    own = file.relative_to(ROOT).parts[0]
    right = ORDER[ORDER.index(own) + 1 :]
    wrong = imported_packages(file) & set(right)
    assert not wrong, (
        f"{file.relative_to(ROOT)} imports from {sorted(wrong)}: {own} may use {ORDER[: ORDER.index(own)]}"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_inside_the_package_are_relative(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        module = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [module or ""]
        assert not any(n.split(".")[0] == "pyrogrn" for n in names), f"{file}: use a relative import"


def test_the_parser_sees_both_kinds_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "priors").mkdir()
    file = tmp_path / "priors" / "bad.py"
    file.write_text(
        "def f():\n    from ..models.gram import X\n    import pyrogrn.inference.fit\n    from .. import experiments\n"
    )
    assert imported_packages(file) == {"models", "inference", "experiments"}
