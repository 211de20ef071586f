"""What a type checker must reject, with the codes of mypy's errors beside it."""

import keras
import numpy as np

import keras_floss
from keras_floss import callbacks, layers, plots, tasks

x = np.zeros((4, 100, 1), "float32")
lstm = keras.layers.LSTM(64)

callbacks.Preflossing(1, steps="many", windwo=3)  # E: arg-type call-arg
callbacks.Preflossing()  # E: call-arg
callbacks.Preflossing(x, flossing={"k": 8})  # E: arg-type
callbacks.PeriodicFlossing(x, window=55)  # E: call-arg
callbacks.PeriodicFlossing(x, every="update")  # E: arg-type
callbacks.AdaptiveFlossing(x, k=8)  # E: call-arg
callbacks.AdaptiveFlossing(x, tolerance="small")  # E: arg-type
callbacks.LyapunovMonitor(x, every=None)  # E: arg-type
callbacks.LyapunovMonitor(x, k=60)  # E: call-arg
callbacks.HDetachAnnealing()  # E: call-arg
callbacks.HDetachAnnealing(start=0.9)  # E: arg-type

keras_floss.Flossing(warmup=None)  # E: arg-type
keras_floss.Flossing(windwo=55)  # E: call-arg
keras_floss.Flossing(qr_interval="often")  # E: arg-type
keras_floss.Flossing().k = 8  # E: misc

keras_floss.lyapunov_exponents(lstm, x, k="all")  # E: arg-type
keras_floss.lyapunov_exponents(lstm, x, 8, 20)  # E: call-arg
keras_floss.lyapunov_statistics(lstm, x).standard_errors  # E: attr-defined
keras_floss.condition_number(lstm, x).measured  # E: attr-defined
keras_floss.gradient_norms(keras.Model(), x)["lstm"].norm  # E: attr-defined
keras_floss.lyapunov_exponents(lstm, x, orthonormalization="qr")  # E: arg-type
keras_floss.set_memory_limit("1 GiB")  # E: arg-type
keras_floss.lyapunov_exponent(lstm, x)  # E: attr-defined

layers.HDetachLSTM()  # E: call-arg
layers.HDetachLSTM(64, detach="both")  # E: arg-type
layers.HDetachLSTM(64, use_cudnn=True)  # E: arg-type
layers.HDetachLSTM(64, recurent_dropout=0.1)  # E: call-arg
layers.HDetachLSTM(64).units = 8  # E: misc
layers.RateRNN(units="80")  # E: arg-type
layers.RateRNN(80, return_sequence=True)  # E: call-arg
layers.RateRNNCell(80, return_sequences=True)  # E: call-arg
keras_floss.LyapunovRegularizer(lstm, strength="strong")  # E: arg-type
keras_floss.LyapunovRegularizer(lstm, k=16)  # E: call-arg
keras_floss.LyapunovRegularizer(lstm, flossing=16)  # E: arg-type

model = keras_floss.FlossingModel(keras.Model())
keras_floss.FlossingModel(keras.Model(), strenght=0.1)  # E: call-arg
keras_floss.FlossingModel(keras.Model(), strength="strong")  # E: arg-type
model.floss(x, steps=300, windwo=55)  # E: call-arg
keras_floss.FlossingModel(keras.Model(), joint={"k": 8})  # E: call-arg
model.floss(x, warmup=None)  # E: arg-type
model.lyapunov_spectrum(x, k="all")  # E: arg-type

tasks.delayed_copy()  # E: call-arg
tasks.adding_problem(length=200, delay=3)  # E: call-arg
tasks.copying_accuracy(x)  # E: call-arg
plots.spectra([0.1, 0.2])  # E: arg-type
