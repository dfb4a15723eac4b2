"""What the command line says of the library: remedies as options, and the level that both mean."""

import doctest

from pyrogrn.experiments import wording
from pyrogrn.experiments.commands import terminal
from pyrogrn.experiments.files import file_names
from pyrogrn.inference.draws import intervals


def test_examples_are_right():
    for module in (wording, file_names):
        found = doctest.testmod(module)
        assert found.attempted
        assert not found.failed


def test_the_usual_level_is_one():
    assert terminal.LEVEL == intervals.LEVEL
