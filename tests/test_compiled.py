"""Compiled functions are kept on disk for the sources they were made of, all of them, and for their options."""

import importlib.util
from functools import partial
from pathlib import Path

import pytest
from pyrogrn.inference.gibbs import columns
from pyrogrn.inference.gibbs.columns import draw_block
from pyrogrn.inference.sparse import compiled as sampler
from pyrogrn.inference.sparse.sweep import sweep_targets
from pyrogrn.models.compiled import compiled, digest_of

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def sources_read_anew():
    digest_of.cache_clear()


def stored(path, compiled=compiled):
    """A small function of a file of its own, compiled; and how often it was found on disk, and not."""
    digest_of.cache_clear()
    spec = importlib.util.spec_from_file_location("doubled", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    function = compiled(made.doubled)
    assert function(2.0) == 4.0
    return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())


def test_what_is_kept_is_for_one_state_of_the_folders_it_calls(tmp_path):
    path, other = tmp_path / "doubled.py", tmp_path / "other"
    other.mkdir()
    path.write_text("def doubled(x):\n    return 2.0 * x\n")
    beside = partial(compiled, folders=(other,))
    assert stored(path, beside) == (0, 1)
    assert stored(path, beside) == (1, 0)
    (other / "called.py").write_text("a = 1\n")
    assert stored(path, beside) == (0, 1)


def test_what_is_kept_is_for_the_options(tmp_path):
    path = tmp_path / "doubled.py"
    path.write_text("def doubled(x):\n    return 2.0 * x\n")
    assert stored(path) == (0, 1)
    assert stored(path, partial(compiled, error_model="numpy")) == (0, 1)


def test_what_is_kept_is_for_the_function_itself_too(tmp_path):
    """One that is in another folder than what it is compiled by."""
    path = tmp_path / "doubled.py"
    path.write_text("def doubled(x):\n    return 2.0 * x\n")
    assert stored(path) == (0, 1)
    path.write_text("def doubled(x):\n    return x + x+0\n")  # as long as it was
    assert stored(path) == (0, 1)
    assert stored(path) == (1, 0)


def test_the_dense_sweep_is_kept_for_the_sources_of_both_folders():
    stamp = draw_block._cache._cache_file._source_stamp
    assert stamp.startswith(f"{digest_of(Path(columns.__file__).parent)} {digest_of(sampler.HERE)} ")


def test_the_sampler_is_kept_for_the_sources_of_its_folder(tmp_path):
    assert sweep_targets._cache._cache_file._source_stamp.startswith(f"{digest_of(sampler.HERE)} ")
    (tmp_path / "one.py").write_text("a = 1\n")
    before = digest_of(tmp_path)
    (tmp_path / "one.py").write_text("a = 2\n")  # as long as it was
    digest_of.cache_clear()
    assert digest_of(tmp_path) != before
