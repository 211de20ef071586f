"""What a type checker must accept: each public name in the ways that its users write it.

Read by mypy, never run. `reveal_type` says what mypy must know of a result.
"""

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import assert_type

import keras_floss
from keras_floss import callbacks, layers, plots, tasks

x = np.zeros((4, 100, 1), "float32")
y = tf.zeros((4, 100, 1))
data: tf.data.Dataset = tasks.delayed_copy(40, length=100)
inputs = keras.Input((100, 1))
lstm = keras.layers.LSTM(64, return_sequences=True)
plain = keras.Model(inputs, keras.layers.Dense(1)(lstm(inputs)))
adam = keras.optimizers.Adam(1e-3)

# Exponents and Jacobians: layers, cells and functions; arrays, tensors, lists of numbers.
keras_floss.lyapunov_exponents(lstm, x)
keras_floss.lyapunov_exponents(keras.layers.GRUCell(8), y, 4, warmup=16, qr_interval=2)
keras_floss.lyapunov_exponents(
    layers.RateRNN(8), x, initial_state=tf.zeros((4, 8)), mask=np.ones((4, 100)), seed=1
)


def henon(state: tf.Tensor) -> tf.Tensor:
    return state


keras_floss.lyapunov_exponents(henon, 1000, initial_state=[[0.1, 0.1]])
keras_floss.lyapunov_exponents(lambda state, x: state, x, initial_state={"a": y})
statistics = keras_floss.lyapunov_statistics(lstm, x, k=8)
assert_type(statistics, keras_floss.LyapunovStatistics)
assert_type(statistics.exponents, np.ndarray)
assert_type(statistics.standard_error, np.ndarray)
keras_floss.jacobian_singular_values(lstm, x, 50, k=8)
keras_floss.jacobian_singular_values(lstm, x, horizon=[10, 20])
condition = keras_floss.condition_number(lstm, x, range(10, 50, 10), warmup=5)
assert_type(condition, keras_floss.ConditionNumber)
assert_type(condition.log_measured, np.ndarray)
paths = keras_floss.lstm_jacobian_paths(lstm, x)
assert_type(paths, keras_floss.LSTMJacobianPaths)
cell, rest = paths
assert_type(cell, np.ndarray)
gradients = keras_floss.gradient_norms(plain, x, y, layers=[lstm])
assert_type(gradients, dict[str, keras_floss.GradientNorms])
assert_type(gradients["lstm"].norms, np.ndarray)
assert_type(gradients["lstm"].kernels["kernel"].effective_dimension, float)
keras_floss.set_memory_limit(2**28)
assert_type(keras_floss.memory_limit(), float)
keras_floss.lyapunov_exponents(lstm, x, memory_limit=1e9, orthonormalization="auto")
runs = keras_floss.recurrent_inputs(plain, x)
assert_type(runs, dict[str, keras_floss.RecurrentInputs])

# Layers, with their own keywords and with Keras's.
layers.RateRNN(80, "relu", return_sequences=True, name="memory", dtype="float64")
layers.RateRNN(80, activation=keras.ops.tanh, recurrent_initializer="orthogonal")
keras.layers.RNN([layers.RateRNNCell(8), layers.HDetachLSTMCell(8, 0.5, dropout=0.1)])
h_detach = layers.HDetachLSTM(64, 0.25, "c", return_sequences=True, dropout=0.1, seed=0)
h_detach.detach_rate.assign(0.5)
assert_type(h_detach.units, int)
layers.HDetachLSTM(64, use_cudnn=False)
flossing = keras_floss.Flossing(k={"lstm": 8}, window=55, warmup="auto", layers=[lstm])
keras_floss.LyapunovRegularizer(lstm, 0.1, keras_floss.Flossing(k=8), name="flossed")
keras_floss.LyapunovRegularizer(keras.layers.Bidirectional(lstm), strength=0.1)
layers.LyapunovRegularizer(layers.RateRNN(80), name="flossed")
keras.Sequential([layers.RateRNN(8), keras.layers.Dense(1)])

# Callbacks.
each = [
    callbacks.Preflossing(x, steps=300, optimizer="adam", save_freq=50),
    callbacks.Preflossing(data, flossing=flossing, window=None, target=[0.0] * 8),
    callbacks.PeriodicFlossing(data, every=100, times=2, optimizer=adam, verbose=0),
    callbacks.PeriodicFlossing([x, x], every="epoch"),
    callbacks.AdaptiveFlossing(data, every=50, tolerance=0.005, steps=200, until=1000),
    callbacks.AdaptiveFlossing(data, until=1000, flossing=flossing),
    callbacks.LyapunovMonitor((x, y), every=10, log_dir="logs", flossing=flossing),
    callbacks.HDetachAnnealing(start=-40),
]
plain.fit(data, epochs=2, callbacks=each)

# Models.
model = keras_floss.FlossingModel(plain, name="flossed")
model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(lstm(inputs)))
model = keras_floss.FlossingModel(plain, flossing=flossing, strength=0.1)
assert_type(model.flossing, keras_floss.Flossing)
model.compile("adam", "mse", flossing_optimizer=adam, jit_compile=False)
history = model.floss(x, steps=300, window=55, k=32, qr_interval="auto")
history.history["flossing_loss"][-1]
model.floss({"a": x}, k={"lstm": 8}, target=[0.0] * 8, layers=["lstm"], verbose=0)
model.floss(x, flossing=flossing, window=None)
spectra = model.lyapunov_spectrum(data, k=8, steps=2)
assert_type(spectra["lstm"], np.ndarray)
model.fit(data, epochs=2)
model.save("model.keras")


class Tagger(keras_floss.FlossingModel):
    def __init__(self, units: int = 64) -> None:
        super().__init__()
        self.rnn = keras.layers.LSTM(units, return_sequences=True)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.rnn(inputs, training=training)


Tagger(32).floss(x)

# Tasks.
tasks.temporal_xor(40, length=100, batch_size=16, seed=1)
tasks.hierarchical_xor(40, levels=3)
tasks.continuous_xor(40)
tasks.spatial_xor(delay=40)
tasks.adding_problem(200, batch_size=50)
copying = tasks.copying_memory(100, one_hot=True)
plain.compile("adam", metrics=[tasks.copying_accuracy])
for part in (tasks.sequential_digits(), tasks.sequential_mnist(permutation_seed=0)):
    (images, classes), validation, test = part
    assert_type(images, np.ndarray)

# Pictures.
ax = plots.learning_curves({"plain": ([1, 2], [0.5, 0.6])}, chance=0.5, measure="loss")
plots.accuracy_by_delay({"plain": (np.arange(3), np.zeros((2, 3)))}, ax=ax)
plots.spectra({"before": statistics.exponents[0]}, flossed=8)
plots.exponents_over_time(range(10), np.zeros((10, 8)), "epochs")
plots.gradient_norms({"plain": gradients["lstm"].norms})
plots.condition_numbers({"plain": ([10, 20, 40], condition)}, directions=8)
