"""Pictures hold the data, and say what it is."""

import numpy as np
import pytest

from keras_floss import plots


def drawn(ax):
    """`{label: (x, y)}` of the lines of an axis."""
    lines = {line.get_label(): line.get_data() for line in ax.get_lines()}
    return {label: data for label, data in lines.items() if not label.startswith("_")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_learning_curves():
    figure, ax = plots.figure()
    curves = {"plain": ([50, 100], [0.5, 0.51]), "flossed": ([50, 100], [0.7, 0.99])}
    assert plots.learning_curves(curves, chance=0.5, ax=ax) is ax
    lines = drawn(ax)
    for label, (updates, accuracy) in curves.items():
        np.testing.assert_array_equal(lines[label], (updates, accuracy))
    assert legend(ax) == ["plain", "flossed", "chance"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("updates", "accuracy")


def test_spectra():
    figure, (left, right) = plots.figure(columns=2)
    values = np.linspace(0, -2, 5)
    assert plots.spectra({"before": values}, flossed=3, ax=right) is right
    np.testing.assert_array_equal(drawn(right)["before"], (range(1, 6), values))
    assert legend(right) == ["before", "flossed exponents"]
    assert "per time step" in right.get_ylabel()
    assert not left.get_lines()


@pytest.mark.parametrize("draw", [plots.learning_curves, plots.spectra])
def test_lines_differ_in_more_than_colour(draw):
    _, ax = plots.figure()
    data = {"a": [1.0, 2.0], "b": [2.0, 3.0]}
    if draw is plots.learning_curves:
        data = {label: ([1, 2], values) for label, values in data.items()}
    draw(data, ax=ax)
    first, second = ax.get_lines()[:2]
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()


def test_a_new_axis_when_none_is_given(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    first, second = plots.spectra({"a": [0.0]}), plots.spectra({"a": [0.0]})
    assert first is not second
