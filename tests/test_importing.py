"""The search for garbage is off while a command imports, and on again afterwards."""

import gc
import sys

import pytest
from pyrogrn.experiments.importing import importing


@pytest.fixture
def fresh(monkeypatch):
    """As a process that has not imported torch; nothing of the tests is frozen."""
    monkeypatch.delitem(sys.modules, "torch")
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    return frozen


def test_off_inside_and_on_after(fresh):
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert fresh == [True]


def test_on_again_after_an_import_that_fails(fresh):
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
    assert fresh == [True]


def test_nothing_where_all_is_imported():
    before = gc.get_freeze_count()
    with importing():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
