"""Exponents, gradients and losses of a run in TensorBoard.

`LyapunovMonitor` puts numbers into the logs of every epoch, where TensorBoard's callback
(or MLflow's, CSVLogger, EarlyStopping) finds them, and writes histograms of the exponents
and pictures itself. It stands before them in the list. It prints what there is to see;
then

    tensorboard --logdir FOLDER

shows it. The folder is the first argument, or one that is removed at the end.
"""

import glob
import os
import sys
import tempfile

import keras
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
DELAY, LENGTH = (5, 20) if QUICK else (40, 60)
EPOCHS, STEPS, UNITS = (1, 2, 8) if QUICK else (5, 50, 64)


def main(folder):
    keras.utils.set_random_seed(0)
    train = keras_floss.tasks.delayed_copy(DELAY, LENGTH)
    model = keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            keras.layers.SimpleRNN(UNITS, return_sequences=True, name="memory"),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    callbacks = [
        keras_floss.callbacks.Preflossing(train),
        keras_floss.callbacks.LyapunovMonitor(
            next(iter(train)), log_dir=os.path.join(folder, "exponents")
        ),
        keras.callbacks.TensorBoard(folder),
    ]
    model.fit(train, epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, callbacks=callbacks)

    for run in sorted(set(map(os.path.dirname, events(folder)))):
        accumulator = EventAccumulator(run).Reload()
        tags = accumulator.Tags()
        kinds = ("scalars", "histograms", "tensors", "images")
        print(os.path.relpath(run, folder), {k: tags[k] for k in kinds if tags[k]})


def events(folder):
    return glob.glob(os.path.join(folder, "**", "events.out.tfevents.*"), recursive=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(temporary)
