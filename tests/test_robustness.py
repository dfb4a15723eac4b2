"""The table of docs/robustness.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "robustness.md"
LAST = re.compile(r"`(test_\w+\.py(?:::\w+)?)` \|$", re.MULTILINE)  # the last column of a row
NAMES = sorted(set(LAST.findall(PAGE.read_text(encoding="utf-8"))))


def test_every_row_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| Kind", "| ---"))]
    assert len(rows) > 20
    for row in rows:
        assert LAST.search(row), row


@pytest.mark.parametrize("name", NAMES)
def test_it_exists(name):
    file, _, function = name.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert any(found.startswith("test_") for found in functions)
    assert not function or function in functions
