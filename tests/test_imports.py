"""How the package is kept habitable: no circles, no questions of kind, no options below the command line, short files.

Imports go one way: priors -> models -> inference -> experiments.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from pyrogrn.inference import GUIDES, SAMPLERS, Amortised, Pruned
from pyrogrn.models import MODELS
from pyrogrn.priors import EDGE_PRIORS, LOADING_PRIORS

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("priors", "models", "inference", "experiments")
FILES = sorted(file for folder in ORDER for file in (ROOT / folder).rglob("*.py"))
MOST_LINES, MOST_OF_A_FUNCTION = 500, 100  # of a file, and of a function without its docstring
CHOOSERS = ("inference/choice.py", "inference/answers/")  # where it may be asked of which kind something is


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{node.lineno}"


def imported_packages(file: Path) -> set[str]:
    """Names of the four folders that a file imports from, at any place in it."""
    found = set()
    here = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(parsed(file)):
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
    for node in ast.walk(parsed(file)):
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


# -- no circles ----


class Package:
    """Which file imports from which, at any place in it: inside functions and under TYPE_CHECKING too.

    An ``__init__`` is a face and no room: a name that it hands on comes from the file that defines it, and a name of
    its own, such as a tuple of all models, comes from every file that it imports from.
    """

    def __init__(self, root: Path, folders: tuple[str, ...] = ORDER) -> None:
        self.root = root
        self.files = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))

    def module(self, parts: tuple[str, ...]) -> Path | None:
        """The file of a module, or the ``__init__`` of a package."""
        file = self.root.joinpath(*parts)
        if parts and file.with_suffix(".py").is_file():
            return file.with_suffix(".py")
        return file / "__init__.py" if (file / "__init__.py").is_file() else None

    def imports(self, file: Path) -> Iterator[tuple[Path, str, str]]:
        """Module, name in it, and name here, of every relative import; an empty name is the module as a whole."""
        here = file.relative_to(self.root).parts[:-1]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = (
                (*here[: len(here) - node.level + 1], *(node.module or "").split("."))
                if node.module
                else here[: len(here) - node.level + 1]
            )
            for alias in node.names:
                inside = self.module((*base, alias.name))
                source = inside or self.module(base)
                if source is not None:
                    yield source, "" if inside else alias.name, alias.asname or alias.name

    def behind(self, source: Path, name: str) -> set[Path]:
        """The rooms that a name of a module comes from."""
        if source.name != "__init__.py":
            return {source}
        handed = list(self.imports(source))
        own = [(s, n) for s, n, here in handed if here == name and s != source]
        return {room for s, n in own or [(s, n) for s, n, _ in handed if s != source] for room in self.behind(s, n)}

    def graph(self) -> dict[Path, set[Path]]:
        rooms = [file for file in self.files if file.name != "__init__.py"]
        return {
            room: {to for source, name, _ in self.imports(room) for to in self.behind(source, name)} - {room}
            for room in rooms
        }


def circle(graph: dict[Path, set[Path]]) -> list[Path]:
    """A circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_file_imports_itself_in_a_circle():
    found = circle(Package(ROOT).graph())
    assert not found, "a circle: " + " -> ".join(str(file.relative_to(ROOT)) for file in found)


def test_circles_are_found_inside_functions_and_through_faces(tmp_path):
    rooms = {
        "priors/__init__.py": "from .one import One\nfrom .two import two\nALL = (One,)\n",
        "priors/one.py": "class One:\n    pass\n",
        "priors/two.py": "def two():\n    from .three import three\n    return three\n",
        "priors/three.py": "three = 3\n",
    }
    (tmp_path / "priors").mkdir()
    for name, text in rooms.items():
        (tmp_path / name).write_text(text)
    package = Package(tmp_path, ("priors",))
    assert circle(package.graph()) == []
    for line in (
        "from . import two",
        "from .two import two",
        "from . import ALL",
        "if TYPE_CHECKING:\n    from . import two",
    ):
        (tmp_path / "priors/three.py").write_text(f"{line}\n")
        assert {file.stem for file in circle(package.graph())} == {"two", "three"}, line
    (tmp_path / "priors/three.py").write_text("from . import One\n")  # handed on by the face, from a file of its own
    assert circle(package.graph()) == []


# -- nobody asks "which kind are you?" ----

ENGINES = (*GUIDES, *SAMPLERS, Amortised, Pruned)
KINDS = {
    base.__name__
    for kind in (*MODELS, *ENGINES, *EDGE_PRIORS, *LOADING_PRIORS)
    for base in kind.__mro__
    if base.__module__.startswith("pyrogrn.")
}
NAMES = {engine.name for engine in ENGINES}


def named(node: ast.AST) -> set[str]:
    """Classes of `KINDS` that an expression mentions."""
    names = {
        n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute)
    }
    return names & KINDS


def called(node: ast.AST, *functions: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions


def questions_of_kind(tree: ast.AST) -> Iterator[ast.AST]:
    """isinstance, issubclass, ``type(x) is``, and patterns of match, of a class of `KINDS`."""
    for node in ast.walk(tree):
        asked = called(node, "isinstance", "issubclass") and len(node.args) == 2 and named(node.args[1])
        compared = isinstance(node, ast.Compare) and any(called(n, "type") for n in (node.left, *node.comparators))
        matched = isinstance(node, ast.MatchClass) and named(node.cls)
        if asked or matched or (compared and named(node)):
            yield node


def engines_by_name(tree: ast.AST) -> Iterator[ast.AST]:
    """Comparisons of what is called a guide or an engine with a name of one as text, or with the ``name`` of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Match) and re.search(r"guide|engine", ast.unparse(node.subject)):
            yield from (case.pattern for case in node.cases if texts(case.pattern) & NAMES)
        if not isinstance(node, ast.Compare):
            continue
        words = ast.unparse(node)
        of_class = any(isinstance(n, ast.Attribute) and n.attr == "name" and named(n.value) for n in ast.walk(node))
        if of_class or (texts(node) & NAMES and re.search(r"guide|engine", words)):
            yield node


def texts(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_kinds_are_asked_where_the_choice_is_made():
    asked = [
        place(file, node)
        for file in FILES
        if not str(file.relative_to(ROOT)).startswith(CHOOSERS)
        for node in questions_of_kind(parsed(file))
    ]
    assert not asked, (
        f"{len(asked)} questions of kind: {', '.join(asked)}. Ask the object for what it can do, or add a row to "
        "inference/choice.py, a method to Answers"
    )


def test_engines_are_not_compared_by_name():
    found = [place(file, node) for file in FILES for node in engines_by_name(parsed(file))]
    assert not found, f"{', '.join(found)}: ask the engine for what it does (inference/choice.py:engine_of)"


def test_questions_are_seen():
    asked = [
        "isinstance(model, PPCA | MuVI)",
        "issubclass(kind, models.FactorModel)",
        "type(prior) is HardMask",
        "match prior:\n    case HardMask():\n        pass",
    ]
    assert all(list(questions_of_kind(ast.parse(text))) for text in asked)
    plain = ["isinstance(x, int | Tensor)", "PPCA(data)", "type(x) is int", "type(model).name"]
    assert not any(list(questions_of_kind(ast.parse(text))) for text in plain)
    compared = ["posterior.guide == 'gibbs'", "posterior.guide in {Gibbs.name, NUTS.name}", "engine in ('map', 'nuts')"]
    assert all(list(engines_by_name(ast.parse(text))) for text in compared)
    assert not any(list(engines_by_name(ast.parse(t))) for t in ("strategy == 'map'", "engines[posterior.guide]"))


# -- words and sizes ----

OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


@pytest.mark.parametrize("file", [f for f in FILES if "experiments" not in f.relative_to(ROOT).parts[:1]], ids=str)
def test_options_of_the_command_line_are_named_by_commands_only(file):
    found = [
        f"line {node.lineno}: {', '.join(OPTION.findall(node.value))}"
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OPTION.search(node.value)
    ]
    assert not found, f"{file.relative_to(ROOT)} {found}: name the Python way; commands add the option"


def size(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)


def test_files_and_functions_are_short():
    long = [
        f"{file.relative_to(ROOT)} has {lines} lines"
        for file in FILES
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]
    long += [
        f"{place(file, node)} {node.name} has {size(node)} lines"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and size(node) > MOST_OF_A_FUNCTION
    ]
    assert not long, f"at most {MOST_LINES} lines a file, {MOST_OF_A_FUNCTION} a function: {'; '.join(long)}"
