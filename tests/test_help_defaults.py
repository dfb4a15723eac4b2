"""What help and pages say of options is what the code does: names, defaults, and that every option is on a page."""

import inspect
import re
from pathlib import Path

import pytest
from command_line import call
from pyrogrn.experiments.commands import calibrate_run
from pyrogrn.experiments.pages import commands as reference
from pyrogrn.inference import NUTS, Gibbs, MeanField, SparseGibbs
from pyrogrn.inference.amortised import Amortised
from pyrogrn.inference.choice import Length, row_of
from pyrogrn.inference.neural_ode.pathways import PATHWAY_COLUMNS
from pyrogrn.inference.sparse.settling import FEWEST
from pyrogrn.models import MODELS, MuVI
from pyrogrn.models.base import Model
from pyrogrn.models.simulators import RandomGRN, TechnicalNoise
from written_tables import listed_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs" / "guide").glob("*.md"),
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
OF_OTHERS = {"--install-completion", "--help", "--nthreads", "--nworkers"}  # of typer, and of dask
COMMANDS = {command.name: command for command in reference.commands()}


def lines_of(page: Path) -> list[str]:
    """Commands in the blocks of a page, without ``pyrogrn``."""
    blocks = re.findall(r"^```bash[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    code = "".join(blocks).replace("\\\n", " ")
    return re.findall(r"^pyrogrn (.*?)(?:\s+#.*)?$", code, re.MULTILINE)


def option(command: str, name: str) -> reference.Option:
    return next(o for o in COMMANDS[command].options if name in o.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_and_commands_that_a_page_names_are_there(page):
    known = {name for command in COMMANDS.values() for o in command.options for name in o.names} | OF_OTHERS
    text = page.read_text()
    text = re.sub(r"^(make|pip|uv) .*$", "", text, flags=re.MULTILINE)
    assert not set(OPTION.findall(text)) - known
    first = {name.partition(" ")[0] for name in COMMANDS}
    named = set(re.findall(r"`pyrogrn ([a-z][a-z-]*)", text)) | {line.split()[0] for line in lines_of(page)}
    assert not named - first


def test_a_line_of_a_page_has_options_of_its_command():
    assert len([line for page in PAGES for line in lines_of(page)]) > 30
    for page in PAGES:
        for line in lines_of(page):
            command = max((c for c in COMMANDS if f"{line} ".startswith(f"{c} ")), key=len)
            known = {name for o in COMMANDS[command].options for name in o.names}
            assert not set(OPTION.findall(line)) - known, f"{page.name}: {line}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command):
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{command}\n"))
    for o in COMMANDS[command].options:
        assert o.help, f"{command} {o.names}: no help"
        assert all(f"`{name}`" in text for name in o.names)
    assert COMMANDS[command].summary


def test_help_has_what_the_page_has():
    for name in ("infer", "score", "simulate panel"):
        code, out, _ = call(*name.split(), "--help")
        assert code == 0
        for o in COMMANDS[name].options:
            assert o.names[0] in out or not o.names[0].startswith("--")
            if o.default and not o.default.startswith("-"):
                assert f"[default: {o.default}" in " ".join(out.split())


# -- defaults that help states in words ----
def stated(command: str, name: str) -> str:
    return re.findall(r"\[(?:default: )?([^\]]*)\]", option(command, name).help)[-1]


def default_prior(model: type[Model]) -> str:
    prior = row_of(model).prior
    assert prior is not None
    return re.sub(r"(?<!^)(?=[A-Z])", "-", prior.__name__.removesuffix("Loading")).lower()


def test_lengths_of_fits():
    cellbox = next(row_of(m) for m in MODELS if m.name == "cellbox").length
    usual = Length()
    large = row_of(MuVI).large
    assert large is not None
    others = f"cellbox {cellbox.restarts}; large muvi and ppca {large.length.restarts}"
    assert stated("infer", "--restarts") == f"{usual.restarts}; nuts {NUTS().num_chains}; {others}"
    assert (
        Gibbs().num_chains
        == SparseGibbs().num_chains
        == Amortised.__dataclass_fields__["num_chains"].default
        == usual.restarts
    )
    text = option("infer", "--steps").help
    assert Amortised.__dataclass_fields__["num_samples"].default == SparseGibbs().num_samples
    few = f"amortised {SparseGibbs().num_samples}; sparse {SparseGibbs().num_samples}, or fewer from {FEWEST} on"
    samples = f"[{Gibbs().num_samples}; nuts {NUTS().num_samples}; {few} where they do]"
    assert samples in text
    assert f"[{usual.num_steps}; cellbox {cellbox.num_steps}]" in text


def test_priors_of_models():
    words = dict(part.split() for part in re.split("[;,] ", stated("infer", "--edge-prior")) if " " in part)
    usual = stated("infer", "--edge-prior").partition(";")[0]
    for model in MODELS:
        if model.name not in ("ppca", "muvi"):
            assert words.get(model.name, usual) == default_prior(model), model.name
    programs = dict(part.split() for part in stated("infer", "--loading-prior").split(", "))
    assert programs == {m.name: default_prior(m) for m in MODELS if m.name in ("ppca", "muvi")}


def test_programs_and_trials():
    defaults = inspect.signature(MuVI.__init__).parameters
    assert stated("infer", "--min-overlap") == stated("ablate", "--min-overlap") == str(defaults["min_overlap"].default)
    assert stated("infer", "--likelihood") == defaults["likelihood"].default
    source = inspect.getsource(MuVI.__init__)
    free, beside = re.search(r"else (\d+) if labels else (\d+)", source).group(2, 1)
    assert stated("infer", "--factors") == f"{free}, with gene sets {beside}"
    assert stated("calibrate", "--moved") == ",".join(map(str, calibrate_run.MOVED))


def test_simulated_networks():
    usual, noise = RandomGRN(), TechnicalNoise()
    for name, value in {
        "--genes": usual.num_genes,
        "--tfs": usual.num_tfs,
        "--types": usual.num_types,
        "--sparsity": usual.sparsity[0],
        "--hubs": usual.hubs[0],
        "--copying": usual.copying[0],
        "--repressive": usual.repressive[0],
        "--decay": usual.decay[0],
        "--gene-noise": usual.noise[0],
        "--hill": usual.hill,
        "--dropout-shape": noise.dropout_shape,
    }.items():
        assert float(stated("simulate sergio", name).partition(",")[0]) == value, name


def test_columns_of_pathways():
    assert next(t for t in listed_tables() if t.title == "`pathways.csv`").always == set(PATHWAY_COLUMNS)


def test_guides_that_help_names_are_guides():
    assert MeanField().name == "mean-field"
    named = option("infer", "--guide").help.partition("[")[0]
    assert {"gibbs", "sparse", "nuts", "blocked", "mean-field"} <= set(re.findall(r"[a-z-]+", named))
