"""Commands that write several files write all of them or none."""

import pandas as pd
import pytest
from pyrogrn.experiments.commands.terminal import write_table_and_figure
from pyrogrn.experiments.files.whole import check_place, whole_folder

TABLE = pd.DataFrame({"gene": ["=A"], "mean": [1.0]})


class Picture:
    """A figure that is drawn, or fails half-way."""

    def __init__(self, error=None):
        self.error = error

    def savefig(self, path, **_):
        path.write_bytes(b"half")
        if self.error is not None:
            raise self.error


def test_both_are_written(tmp_path):
    assert write_table_and_figure(TABLE, Picture(), tmp_path / "new" / "t.csv") == tmp_path / "new" / "t.png"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["t.csv", "t.png"]
    assert (tmp_path / "new" / "t.csv").read_text() == "gene,mean\n'=A,1\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), TypeError("x")])
def test_neither_is_written(tmp_path, error):
    (tmp_path / "t.csv").write_text("earlier")
    with pytest.raises((ValueError, KeyboardInterrupt, TypeError)):
        write_table_and_figure(TABLE, Picture(error), tmp_path / "t.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "earlier"


def test_a_place_for_both(tmp_path):
    with pytest.raises(ValueError, match=r"name it .csv"):
        write_table_and_figure(TABLE, Picture(), tmp_path / "t.png")
    (tmp_path / "t.png").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        write_table_and_figure(TABLE, Picture(), tmp_path / "t.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["t.png"]


def test_a_folder_is_filled_or_left(tmp_path):
    out = tmp_path / "out"

    def half_way():
        with whole_folder(out) as place:
            (place / "one.csv").write_text("1")
            raise TypeError

    with pytest.raises(TypeError):
        half_way()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        check_place(tmp_path / "file" / "out")
    check_place(tmp_path / "a" / "b")
