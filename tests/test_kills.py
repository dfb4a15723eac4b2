"""Kills at random moments, in short (`make kills` does thirty): absent or whole, resumed to equal tables."""

import os

import pytest
from kills.harness import Harness, Server
from kills.jobs import QUICK, make_inputs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    server = Server()
    yield Harness(server, folder, make_inputs(folder / "inputs"))
    server.close()


@pytest.mark.parametrize(("name", "seed"), [(name, 101 + i) for i, name in enumerate(QUICK)])
def test_killed_and_resumed(name, seed, harness):
    outcome = harness.run(name, seed)
    assert not outcome.wrong, outcome
