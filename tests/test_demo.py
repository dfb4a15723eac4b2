"""`pyrogrn demo`: commands are printed and run, mistakes end it, and what it would run has options that exist."""

import pytest
from command_line import call
from pyrogrn.experiments.commands import demo_command as demo
from pyrogrn.experiments.pages.commands import commands

SMALL = (
    "simulate linear --genes 10 --tfs 3 --cells 40 --seed 1 --out DEMO/data",
    "score DEMO/data/network.csv DEMO/data/network.csv",
)


def test_commands_are_printed_and_run(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PARTS", {"network": SMALL})
    out = tmp_path / "made"
    code, results, said = call("demo", "--out", out)
    assert code == 0, said
    assert f"$ pyrogrn simulate linear --genes 10 --tfs 3 --cells 40 --seed 1 --out {out}/data" in said
    assert "average_precision" in results
    assert (out / "data" / "expression.h5ad").exists()
    code, _, said = call("demo", "--out", out)
    assert (code, said.splitlines()) == (2, [f"pyrogrn: error: --out {out}: is there already, choose another folder"])


def test_a_command_that_fails_ends_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PARTS", {"network": ("score DEMO/none.csv DEMO/none.csv", SMALL[0])})
    code, _, said = call("demo", "--out", tmp_path / "made")
    assert code == 2
    assert "none.csv" in said.splitlines()[-1]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("options", "words"), [(("--part", "x"), "choose of"), (("--all", "--part", "panel"), "choose one")]
)
def test_mistakes_are_one_line(tmp_path, options, words):
    code, _, said = call("demo", *options, "--out", tmp_path / "made")
    assert code == 2
    assert words in said
    assert len(said.splitlines()) == 1


def test_what_it_runs_has_options_that_exist():
    known = {command.name: {n for o in command.options for n in o.names} for command in commands()}
    for line in (line for part in demo.PARTS.values() for line in part):
        command = max((c for c in known if line.startswith(f"{c} ")), key=len)
        assert not {word for word in line.split() if word.startswith("--")} - known[command], line
