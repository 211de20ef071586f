"""What a task has learned is watched on one batch, and flossing that harms it undone."""

import keras
import numpy as np
import pytest

from keras_floss.flossing.arrival import task_batch
from keras_floss.flossing.task_watch import TaskWatch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 6, 2)).astype("float32")
Y = RNG.standard_normal((4, 1)).astype("float32")


def watched(**layer):
    """A model whose loss is the square of a scale by which its weights are multiplied."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 2), batch_size=4 if layer else None)
    rnn = keras.layers.SimpleRNN(3, activation="linear", name="rnn", **layer)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(rnn(inputs)))
    # All of the input goes through the kernel, which the output is linear in.
    model.compile("sgd", "mse", metrics=["mae"])
    return model, rnn.cell.kernel


def watch(model, y):
    return TaskWatch(model, task_batch(model, (X, y)), {"rnn": model.get_layer("rnn")})


def test_harm_is_undone_and_no_more():
    model, kernel = watched()
    task = watch(model, 0 * Y)
    start = kernel.numpy()
    assert not task.look()
    kernel.assign(1.1 * start)  # the loss is 1.21 times what it was
    assert not task.undo_harm()
    np.testing.assert_array_equal(kernel, np.float32(1.1) * start)
    assert not task.look()
    kernel.assign(1.25 * start)  # and 1.29 times what it is
    assert task.undo_harm()
    np.testing.assert_array_equal(kernel, np.float32(1.1) * start)
    # Then it rests until the loss is a quarter up.
    assert task.look()
    kernel.assign(1.2 * start)
    assert task.look()
    kernel.assign(1.25 * start)
    assert not task.look()
    kernel.assign(np.nan * start)
    assert task.undo_harm()


@pytest.mark.parametrize(("scale", "falls"), [(0.94, True), (0.96, False), (1.0, False)])
def test_a_loss_falls_by_a_tenth(scale, falls):
    model, kernel = watched()
    task = watch(model, 0 * Y)
    assert not task.look()  # nothing to compare with
    kernel.assign(scale * kernel.numpy())
    assert task.look() == falls


def test_what_flossing_did_is_no_fall():
    model, kernel = watched()
    task = watch(model, 0 * Y)
    task.look()
    kernel.assign(0.5 * kernel.numpy())
    assert not task.undo_harm()
    assert not task.look()


def test_without_targets_there_is_no_task():
    model, kernel = watched()
    task = TaskWatch(model, task_batch(model, X), {"rnn": model.get_layer("rnn")})
    assert not task.look()
    kernel.assign(np.nan * kernel.numpy())
    assert not task.look()
    assert not task.undo_harm()


def test_it_leaves_metrics_and_states_alone():
    model, _ = watched(stateful=True)
    model.evaluate(X, Y, batch_size=4, verbose=0)
    state = model.get_layer("rnn").states[0]
    values = [v.numpy() for v in (state, *model.metrics_variables)]
    assert np.abs(values[0]).max() > 0
    watch(model, Y).look()
    for a, b in zip((state, *model.metrics_variables), values, strict=True):
        np.testing.assert_array_equal(a, b)
