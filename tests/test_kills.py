"""Kills at random moments, one of each kind (`make kills` does thirty): outputs absent or whole, resumed tables equal.

All but the quickest are marked slow.
"""

import os

import pytest
from kills.harness import Harness
from kills.jobs import JOBS, QUICK, make_inputs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def harness(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    return Harness(server, folder, make_inputs(folder / "inputs"))


KINDS = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in JOBS]


@pytest.mark.parametrize("name", KINDS)
def test_killed_and_resumed(name, harness):
    outcome = harness.run(name, seed=101)
    assert not outcome.wrong, outcome
