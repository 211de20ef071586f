"""Pictures hold the data, and say what it is."""

import matplotlib.colors
import numpy as np
import pytest

from keras_floss import plots
from keras_floss.lyapunov import ConditionNumber
from keras_floss_command.tasks import ARMS


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


def test_as_many_curves_as_a_task_has_arms_look_different():
    _, ax = plots.figure()
    arms = max(ARMS.values(), key=len)
    plots.learning_curves({arm: ([50, 100], [0.5, 0.6]) for arm in arms}, ax=ax)
    lines = [line for line in ax.get_lines() if line.get_label() in arms]
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == len(arms)


def test_spectra():
    figure, (left, right) = plots.figure(columns=2)
    values = np.linspace(0, -2, 5)
    assert plots.spectra({"before": values}, flossed=3, ax=right) is right
    np.testing.assert_array_equal(drawn(right)["before"], (range(1, 6), values))
    assert legend(right) == ["before", "flossed exponents"]
    assert "per time step" in right.get_ylabel()
    assert not left.get_lines()


SEEDS = np.array([[0.5, 0.7], [0.6, 1.0], [0.1, 0.2], [0.9, 0.8], [0.3, 0.6]])


def bands(ax):
    """`[(updates, low, high), ...]` of the shaded bands of an axis."""
    found = []
    for collection in ax.collections:
        vertices = collection.get_paths()[0].vertices
        x = np.unique(vertices[:, 0])
        ends = [vertices[vertices[:, 0] == at, 1] for at in x]
        found.append((x, [e.min() for e in ends], [e.max() for e in ends]))
    return found


def test_curves_of_several_seeds_are_a_median_and_a_band():
    _, ax = plots.figure()
    curves = {"many": ([50, 100], SEEDS), "one": ([50, 100], [0.5, 0.6])}
    plots.learning_curves(curves, ax=ax)
    np.testing.assert_array_equal(drawn(ax)["many"], ([50, 100], [0.5, 0.7]))
    # Of five, the 20th percentile lies 0.8 of the way from the lowest to the next.
    ((updates, low, high),) = bands(ax)
    np.testing.assert_array_equal(updates, [50, 100])
    np.testing.assert_allclose(low, [0.1 + 0.8 * 0.2, 0.2 + 0.8 * 0.4])
    np.testing.assert_allclose(high, [0.6 + 0.2 * 0.3, 0.8 + 0.2 * 0.2])
    assert legend(ax) == ["many", "one"]
    # The band has the colour of its line.
    line, _ = ax.get_lines()
    colour = matplotlib.colors.to_rgb(line.get_color())
    np.testing.assert_allclose(ax.collections[0].get_facecolor()[0][:3], colour)


def test_one_seed_has_no_band():
    _, ax = plots.figure()
    plots.learning_curves({"one": ([50, 100], SEEDS[:1])}, ax=ax)
    np.testing.assert_array_equal(drawn(ax)["one"], ([50, 100], SEEDS[0]))
    assert bands(ax) == []


def test_an_error_is_named_and_may_be_larger_than_an_accuracy():
    _, ax = plots.figure()
    plots.learning_curves({"a": ([50, 100], [3.0, 2.0])}, measure="error", ax=ax)
    assert ax.get_ylabel() == "error"
    low, high = ax.get_ylim()
    assert low <= 2.0
    assert high >= 3.0


def test_five_curves_differ_in_colour_and_marker():
    _, ax = plots.figure()
    plots.learning_curves({str(i): ([1, 2], [i, i]) for i in range(5)}, ax=ax)
    lines = ax.get_lines()
    assert len({line.get_color() for line in lines}) == 5
    assert len({line.get_marker() for line in lines}) == 5


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


def test_accuracy_by_delay_is_a_median_and_a_band():
    _, ax = plots.figure()
    results = {"flossed": ([10, 20], SEEDS), "plain": ([10, 20], [0.9, 0.5])}
    assert plots.accuracy_by_delay(results, chance=0.5, ax=ax) is ax
    np.testing.assert_array_equal(drawn(ax)["flossed"], ([10, 20], [0.5, 0.7]))
    assert len(bands(ax)) == 1
    assert "delay" in ax.get_xlabel()


def test_exponents_over_time_name_the_first_and_the_last():
    _, ax = plots.figure()
    values = np.array([[-0.1, -0.5, -2.0], [0.0, -0.1, -0.4]])
    assert plots.exponents_over_time([0, 7], values, "epochs", ax=ax) is ax
    assert legend(ax) == [r"$\lambda_{1}$", r"$\lambda_{3}$"]
    np.testing.assert_array_equal(drawn(ax)[r"$\lambda_{3}$"], ([0, 7], [-2.0, -0.4]))
    # One line for each exponent, and the zero line.
    assert len(ax.get_lines()) == 4
    assert ax.get_xlabel() == "epochs"


def test_gradient_norms_are_on_a_logarithmic_axis_without_zeros():
    _, ax = plots.figure()
    assert plots.gradient_norms({"lstm": np.array([0.0, 1e-9, 1e-3])}, ax=ax) is ax
    assert ax.get_yscale() == "log"
    steps, norms = drawn(ax)["lstm"]
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(norms, [np.nan, 1e-9, 1e-3])


def test_condition_numbers_are_decimal_logarithms_and_medians():
    _, ax = plots.figure()
    # Two sequences and a third, two horizons, three directions.
    measured = np.log(10) * np.array([[[0, 1, 2], [0, 2, 400]]] * 2 + [[[0, 9, 9]] * 2])
    result = ConditionNumber(measured, measured / 2)
    plots.condition_numbers({"rnn": ([5, 10], result)}, ax=ax)
    np.testing.assert_allclose(drawn(ax)["rnn"], ([5, 10], [2, 400]))
    np.testing.assert_allclose(ax.get_lines()[1].get_data(), ([5, 10], [1, 200]))
    assert any("predicted" in label for label in legend(ax))
    _, other = plots.figure()
    plots.condition_numbers({"rnn": ([5, 10], result)}, directions=2, ax=other)
    np.testing.assert_allclose(drawn(other)["rnn"], ([5, 10], [1, 2]))


def test_png_is_a_picture():
    figure, ax = plots.figure()
    plots.spectra({"before": [0.0, -1.0]}, ax=ax)
    assert plots.png(figure).startswith(b"\x89PNG")
