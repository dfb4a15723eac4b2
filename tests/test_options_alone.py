"""An option that does nothing without another one is refused in one line that names the other."""

import pytest
from command_line import call
from pyrogrn.experiments.commands.gene_names import listed_genes
from pyrogrn.experiments.commands.infer_checks import check_fit
from pyrogrn.inference import Blocked, fit
from pyrogrn.models import LinearNetwork
from pyrogrn.priors import Horseshoe


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    rows = "\n".join(f"c{i},{i % 7},{(i * 5) % 11},{(i * 3) % 5}" for i in range(40))
    (folder / "cells.csv").write_text(f"cell,A,B,C\n{rows}\n")
    (folder / "prior.csv").write_text("source,target\nA,B\n")
    return folder


ALONE = [
    (["infer", "cells.csv", "--unmeasured"], "--unmeasured does nothing without --perturbation-key"),
    (["infer", "cells.csv", "--control", "NT"], "--control does nothing without --perturbation-key"),
    (["infer", "cells.csv", "--min-cells", 3], "--context-key"),
    (["infer", "cells.csv", "--method", "muvi", "--min-overlap", 3], "--min-overlap does nothing without --gene-sets"),
    (["infer", "cells.csv", "--method", "trajectory", "--metacells", 3], "needs --time-key"),
    (["infer", "cells.csv", "--set", "fit.num_draws=9"], "--steps"),
    (["infer", "cells.csv", "--set", "fit.threshold=0.2"], "--set fit.threshold does nothing here"),
    (["infer", "cells.csv", "--method", "pmf-grn", "--set", "fit.threshold=0.2"], "fit.threshold does nothing here"),
    (
        ["infer", "cells.csv", "--edge-prior", "horseshoe", "--set", "fit.threshold=-1"],
        "--set fit.threshold=-1: expected a finite number of at least 0",
    ),
    (
        ["infer", "cells.csv", "--guide", "mean-field", "--set", "fit.num_draws=few"],
        "--set fit.num_draws=few: expected a whole number of at least 1",
    ),
    (["ablate", "cells.csv", "--prior", "p=prior.csv", "--unmeasured"], "--perturbation-key"),
    (["ablate", "cells.csv", "--prior", "p=prior.csv", "--trajectory-key", "t"], "--time-key"),
    (["ablate", "cells.csv", "--prior", "p=prior.csv", "--all-regulators"], "without --truth"),
    (["ablate", "cells.csv", "--prior", "p=prior.csv", "--damage", "p"], "without --corrupt or --flip"),
    (["ablate", "cells.csv", "--prior", "p=prior.csv", "--backend", "serial", "--jobs", 2], "it is for loky"),
    (["simulate", "ppca", "--label", "none"], "without --shift"),
    (["simulate", "muvi", "--correlation", 0.5], "without --covariates"),
    (["simulate", "muvi", "--sets", 0, "--false", 0.5], "without gene sets"),
    (["simulate", "sergio", "--dropout-shape", 3], "without --dropout"),
]


@pytest.mark.parametrize(("command", "words"), ALONE, ids=[" ".join(map(str, c[:1] + c[-2:])) for c, _ in ALONE])
def test_it_is_refused(cells, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(cells)
    code, _, err = call(*command, "--out", tmp_path / "out")
    assert code == 2, err
    assert words in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_threshold_is_used_where_inclusion_is_a_size(tiny_data):
    model = LinearNetwork.from_data(tiny_data, edge_prior=Horseshoe())
    check_fit({"threshold": 0.3}, Blocked(), model)
    low, high = (fit(model, guide=Blocked(), num_steps=20, num_draws=50, restarts=1, threshold=t) for t in (0.0, 0.3))
    allowed = model.edge_prior.allowed.numpy()
    assert (low.moments["W"].inclusion[allowed] == 1).all()
    assert (high.moments["W"].inclusion[allowed] < 1).any()
    assert high.threshold == 0.3


def test_lists_of_genes():
    assert listed_genes("--knockout", None, ["A"]) == ()
    assert listed_genes("--knockout", "A, B", ["A", "B"]) == ("A", "B")
    assert listed_genes("--knockout", " A", [" A", "A"]) == (" A",)
    for text, words in (("A,", "empty name"), ("", "empty name"), ("A,A", "'A' twice"), ("A\nB", "in one line")):
        with pytest.raises(ValueError, match=words):
            listed_genes("--knockout", text, ["A"])
