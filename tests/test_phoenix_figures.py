"""Figures of PHOENIX networks: what they show is what was given, whatever its size; nothing given is changed."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pyrogrn.experiments.figures import courses as F
from pyrogrn.experiments.figures import effect_maps as E
from pyrogrn.experiments.scores import balanced_accuracy


def drawn(figure: Figure) -> Figure:
    """Render, so that anything that fails only then does."""
    settings = dict(mpl.rcParams)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert dict(mpl.rcParams) == settings
    return figure


def texts(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


@pytest.fixture
def truth():
    """Two regulators with targets of their own, one with a shared target; 12 genes."""
    matrix = np.zeros((12, 12))
    matrix[3, [0, 5, 6, 7]] = 1
    matrix[8, [1, 2, 7]] = -1
    matrix[4, [10]] = 1
    return matrix


@pytest.fixture
def estimates(truth):
    rng = np.random.default_rng(0)
    dense = rng.normal(size=truth.shape)
    return {"DASH": truth * 0.5, "none": dense / np.abs(dense).sum(0)}


class TestOrders:
    def test_pooling_keeps_the_largest_entry_and_its_sign(self):
        matrix = np.zeros((7, 7))
        matrix[0, 0], matrix[1, 1], matrix[6, 6], matrix[2, 5] = 1, -3, 2, -0.5
        small = E.pooled(matrix, 4)
        assert small.shape == (4, 4)
        expected = np.zeros((4, 4))
        expected[0, 0], expected[3, 3], expected[1, 2] = -3, 2, -0.5
        assert (small == expected).all()
        assert (E.pooled(matrix, 7) == matrix).all()

    def test_a_single_edge_of_a_large_network_stays(self):
        matrix = np.zeros((1999, 1999))
        matrix[1998, 0] = -0.01
        small = E.pooled(matrix)
        assert max(small.shape) <= E.CELLS
        assert small.min() == -0.01
        assert (small != 0).sum() == 1

    def test_effect_order_is_a_staircase(self, truth):
        sources, targets = E.effect_order(truth)
        assert list(sources[:3]) == [3, 8, 4]
        assert set(targets[:4]) == {0, 5, 6, 7}  # the shared target goes to the regulator with more of them
        assert set(targets[4:6]) == {1, 2}
        assert targets[6] == 10
        assert sorted(sources) == sorted(targets) == list(range(12))

    @pytest.mark.parametrize("limit", [2500, 4])
    def test_similar_genes_stand_together(self, limit, monkeypatch):
        monkeypatch.setattr(E, "MAX_CLUSTERED", limit)
        similarity = np.zeros((7, 7))
        for group in ([0, 3, 5], [1, 4]):
            similarity[np.ix_(group, group)] = 0.9
        np.fill_diagonal(similarity, [1, 1, 0, 1, 1, 1, 0])
        order = list(E.similar_order(similarity))
        assert sorted(order) == list(range(7))
        assert set(order[5:]) == {2, 6}
        if limit > 4:
            places = [sorted(order.index(gene) for gene in group) for group in ([0, 3, 5], [1, 4])]
            assert all(place == list(range(place[0], place[-1] + 1)) for place in places)

    def test_no_effects_at_all(self):
        assert sorted(E.similar_order(np.zeros((4, 4)))) == [0, 1, 2, 3]
        assert sorted(E.effect_order(np.zeros((4, 4)))[1]) == [0, 1, 2, 3]


class TestHeatMaps:
    def test_effects_beside_the_truth(self, truth, estimates):
        before = {name: matrix.copy() for name, matrix in estimates.items()}
        figure = drawn(E.effect_heat_maps(estimates, truth=truth))
        panels = figure.axes[:3]
        assert [ax.get_title(loc="left").split("\n")[0] for ax in panels] == ["Truth", "DASH", "none"]
        off = ~np.eye(12, dtype=bool)
        accuracy = balanced_accuracy(estimates["none"][off] != 0, truth[off] != 0)
        assert f"balanced accuracy {accuracy:.1%}" in panels[2].get_title(loc="left")
        assert "balanced accuracy 100.0%" in panels[1].get_title(loc="left")
        rows, columns = E.effect_order(truth)
        shown = panels[1].images[0].get_array()
        assert np.allclose(shown, estimates["DASH"][np.ix_(rows, columns)])
        scaled = panels[0].images[0].get_array()
        sums = np.abs(scaled).sum(0)
        assert set(np.round(sums, 12)) == {0.0, 1.0}
        limits = {ax.images[0].get_clim() for ax in panels}
        assert len(limits) == 1
        for name, matrix in before.items():
            assert (estimates[name] == matrix).all()

    def test_few_genes_are_named_in_the_order_drawn(self, truth, estimates):
        names = [f"gene{i}" for i in range(12)]
        figure = drawn(E.effect_heat_maps(estimates, truth=truth, genes=names))
        rows, columns = E.effect_order(truth)
        for ax in figure.axes[:3]:
            assert [t.get_text() for t in ax.get_yticklabels()] == [names[i] for i in rows]
            assert [t.get_text() for t in ax.get_xticklabels()] == [names[i] for i in columns]
        alike = drawn(E.coregulation_heat_maps({"DASH": truth}, genes=names)).axes[0]
        shown = [t.get_text() for t in alike.get_yticklabels()]
        assert sorted(shown) == ["gene3", "gene4", "gene8"]
        assert [t.get_text() for t in alike.get_xticklabels()] == shown
        many = np.eye(E.NAMED + 1)[::-1]
        figure = drawn(E.effect_heat_maps({"DASH": many}, genes=[str(i) for i in range(E.NAMED + 1)]))
        assert not figure.axes[0].get_yticklabels()

    def test_line_ends_the_true_sources(self, truth, estimates):
        figure = E.effect_heat_maps(estimates, truth=truth)
        assert figure.axes[1].lines[0].get_ydata()[0] == pytest.approx(3 - 0.5)

    def test_coregulation_beside_the_truth(self, truth, estimates):
        figure = drawn(E.coregulation_heat_maps(estimates, truth=truth))
        shown = figure.axes[0].images[0].get_array()
        assert shown.shape == (12, 12)  # the dense estimate lets every gene regulate
        assert sorted(shown[shown > 0]) == pytest.approx([1 / np.sqrt(12)] * 2)
        line = figure.axes[1].lines
        assert [line[0].get_ydata()[0], line[1].get_xdata()[0]] == pytest.approx([2.5, 2.5])
        alone = drawn(E.coregulation_heat_maps({"DASH": estimates["DASH"]}))
        assert alone.axes[0].images[0].get_array().shape == (3, 3)

    def test_large_and_empty_networks(self):
        rng = np.random.default_rng(1)
        large = {"a": rng.normal(size=(450, 450)) * (rng.random((450, 450)) < 0.01)}
        for draw in (E.effect_heat_maps, E.coregulation_heat_maps):
            assert max(drawn(draw(large)).axes[0].images[0].get_array().shape) <= E.CELLS
            drawn(draw({"a": np.zeros((5, 5))}))
            drawn(draw({"a$b": np.eye(5)}, truth=np.zeros((5, 5))))
            drawn(draw({str(i): rng.normal(size=(5, 5)) for i in range(5)}))

    def test_bad_input(self, truth):
        for draw in (E.effect_heat_maps, E.coregulation_heat_maps):
            with pytest.raises(ValueError, match="at least one method"):
                draw({}, truth=truth)
            with pytest.raises(ValueError, match="none called 'truth'"):
                draw({"truth": truth})
            with pytest.raises(ValueError, match="expected the same"):
                draw({"a": np.zeros((3, 3))}, truth=truth)
            with pytest.raises(ValueError, match="expected the same"):
                draw({"a": np.zeros((3, 2))})


def test_sparsity_and_accuracy():
    runs = pd.DataFrame(
        {
            "method": ["DASH"] * 2 + ["none"],
            "sparsity": [0.94, 0.96, 0.1],
            "balanced_accuracy": [0.9, 0.92, 0.6],
        }
    )
    figure = drawn(F.sparsity_and_accuracy(runs))
    points = [c[0].get_xydata()[0] for c in figure.axes[0].containers]
    assert np.allclose(points, [[0.95, 0.91], [0.1, 0.6]])
    across, up = (bar.get_segments()[0] for bar in figure.axes[0].containers[0][2])
    assert across[1, 0] - across[0, 0] == pytest.approx(2 * np.std([0.94, 0.96], ddof=1))
    assert up[1, 1] - up[0, 1] == pytest.approx(2 * np.std([0.9, 0.92], ddof=1))
    columns = ["method", "sparsity", "sparsity_sd", "balanced_accuracy", "balanced_accuracy_sd"]
    published = pd.DataFrame([["DASH", 0.946, 0.012, 0.907, 0.004], ["IMP", 0.96, 0.0, 0.709, 0.015]], columns=columns)
    figure = drawn(F.sparsity_and_accuracy(runs, published=published))
    assert len(figure.axes[0].containers) == 4
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["DASH", "none", "IMP", "as published"]
    drawn(F.sparsity_and_accuracy(runs.iloc[:0]))
    many = pd.concat([runs.iloc[:1].assign(method=f"m{i}") for i in range(20)])
    drawn(F.sparsity_and_accuracy(many))


class TestPathways:
    def test_top_of_each_and_stars(self):
        one = pd.DataFrame({"set": ["REACTOME_A_B", "X2", "Y"], "z": [5.0, 2.0, -1.0], "bonferroni": [0.01, 0.2, 1.0]})
        two = pd.DataFrame({"set": ["Y", "X2"], "z": [4.0, 3.0], "bonferroni": [0.04, 0.05]})
        figure = drawn(F.pathway_scores({"DASH": one, "IMP": two}, top=1))
        ax = figure.axes[0]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["A b", "Y"]
        assert texts(ax) == ["*", "*"]
        assert [t.get_text() for t in ax.get_xticklabels()] == ["DASH (1)", "IMP (1)"]
        shown = ax.images[0].get_array()
        assert np.allclose(np.ma.filled(shown, np.nan), [[5, np.nan], [-1, 4]], equal_nan=True)

    def test_nothing_to_show(self):
        empty = pd.DataFrame({"set": [], "z": [], "bonferroni": []})
        drawn(F.pathway_scores({"DASH": empty}))
        drawn(F.pathway_scores({}))
        flat = pd.DataFrame({"set": ["A"], "z": [0.0], "bonferroni": [1.0]})
        drawn(F.pathway_scores({"DASH": flat}))

    def test_names(self):
        assert F._readable("REACTOME_FOXO_MEDIATED_IL10_DEATH") == "Foxo mediated IL10 death"
        assert F._readable("MY_SET") == "My set"
        assert F._readable("TP53 activity") == "TP53 activity"


class TestGenes:
    table = pd.DataFrame(
        {
            "gene": ["a$", "b", "c"],
            "influence": [3.0, 2.0, 0.0],
            "sd": [0.1] * 3,
            "lower": [2.5, 1.0, 0.0],
            "upper": [3.5, 2.5, 0.0],
            "error": [0.05] * 3,
        }
    )

    def test_influence_with_targets(self):
        degrees = pd.DataFrame(
            {"gene": ["c", "b", "a$"], "out_degree": [4.0, 2.0, 0.0], "out_lower": np.nan, "out_upper": np.nan}
        )
        figure = drawn(F.influence_bars(self.table, degrees=degrees, count=2))
        left, right = figure.axes
        assert [bar.get_width() for bar in left.patches] == [3, 2]
        assert [bar.get_width() for bar in right.patches] == [0, 2]
        assert "mean of all genes 2.0" in right.get_title(loc="left")
        assert np.allclose(left.collections[0].get_segments()[0][:, 0], [2.5, 3.5])

    def test_a_single_network_shows_the_error_of_starts(self):
        figure = drawn(F.influence_bars(self.table.assign(sd=np.nan, lower=np.nan, upper=np.nan)))
        assert np.allclose(figure.axes[0].collections[0].get_segments()[0][:, 0], [2.9, 3.1])
        drawn(F.influence_bars(self.table.iloc[:0]))

    def test_runs_side_by_side(self):
        larger = self.table.assign(influence=[9.0, 8.0, 7.0], lower=6.0, upper=10.0)
        figure = drawn(F.influence_beside({"a/run": self.table, "b/run": larger}, count=2))
        left, right = figure.axes
        assert [ax.get_title(loc="left") for ax in figure.axes] == ["a/run", "b/run"]
        assert [bar.get_width() for bar in right.patches] == [9, 8]
        assert left.get_xlim()[0] == 0
        assert left.get_xlim() == right.get_xlim()
        assert right.get_xlim()[1] > 10
        assert sum(ax.axison for ax in drawn(F.influence_beside(dict.fromkeys("abcdef", self.table))).axes) == 6
        drawn(F.influence_beside({"a": self.table.iloc[:0]}))

    def test_trajectories(self):
        rng = np.random.default_rng(0)
        times, predicted = np.linspace(0, 1, 6), rng.random((200, 6, 5))
        observed = rng.random((3, 5))
        observed[1, 2] = np.nan
        given = {"observed_times": np.array([0, 0.4, 1.0]), "observed": observed}
        figure = drawn(F.trajectories(times, predicted, list("abcde"), **given, level=0.5))
        ax = figure.axes[0]
        assert np.allclose(ax.lines[0].get_ydata(), predicted[:, :, 0].mean(0))
        band = ax.collections[0].get_paths()[0].vertices
        assert band[:, 1].max() == pytest.approx(np.quantile(predicted[:, :, 0], 0.75, axis=0).max())
        assert len(figure.legends[0].get_texts()) == 3
        drawn(F.trajectories(times, predicted[:1, :, :1], ["a"]))
        drawn(F.trajectories(times, predicted[:, :, :0], []))

    def test_trajectories_refuse_wrong_shapes(self):
        times, predicted = np.arange(3.0), np.zeros((2, 3, 1))
        with pytest.raises(ValueError, match=r"expected \(draw, 3, 2\)"):
            F.trajectories(times, predicted, ["a", "b"])
        with pytest.raises(ValueError, match="or neither"):
            F.trajectories(times, predicted, ["a"], observed=np.zeros((2, 1)))
        with pytest.raises(ValueError, match=r"expected \(2, 1\)"):
            F.trajectories(times, predicted, ["a"], observed=np.zeros((3, 1)), observed_times=np.zeros(2))
