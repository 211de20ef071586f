"""A search of KerasTuner over a network that is flossed in each trial.

Units, learning rate, and whether it is flossed at all, are searched together: "not" is a
setting like any other, so that the search says whether flossing is worth it for your task.
One `Preflossing` serves all trials. It needs `pip install keras-tuner`, and prints the
best settings and the score of every trial.
"""

import os
import tempfile

import keras
import keras_tuner

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
DELAY, LENGTH = (5, 20) if QUICK else (60, 80)
TRIALS, EPOCHS, STEPS = (2, 1, 2) if QUICK else (6, 6, 50)


class Search(keras_tuner.HyperModel):
    def build(self, hp):
        keras.utils.set_random_seed(0)
        units = hp.Choice("units", [8] if QUICK else [32, 64])
        model = keras.Sequential(
            [
                keras.Input((LENGTH, 1)),
                keras.layers.SimpleRNN(units, return_sequences=True),
                keras.layers.Dense(1),
            ]
        )
        rate = hp.Float("learning_rate", 3e-4, 3e-3, sampling="log")
        model.compile(
            keras.optimizers.Adam(rate, global_clipnorm=1.0),
            keras.losses.BinaryCrossentropy(from_logits=True),
            weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
        )
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        flossed = hp.Boolean("flossed")
        others = [
            callback
            for callback in callbacks
            if flossed or not isinstance(callback, keras_floss.callbacks.Preflossing)
        ]
        return model.fit(*args, callbacks=others, **kwargs)


def main():
    train = keras_floss.tasks.delayed_copy(DELAY, LENGTH, seed=0)
    test = keras_floss.tasks.delayed_copy(DELAY, LENGTH, batch_size=200, seed=1).take(1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(
            Search(),
            objective=keras_tuner.Objective("val_accuracy", "max"),
            max_trials=TRIALS,
            seed=0,
            directory=folder,
        )
        tuner.search(
            train,
            validation_data=test,
            epochs=EPOCHS,
            steps_per_epoch=STEPS,
            callbacks=[keras_floss.callbacks.Preflossing(train)],
            verbose=0,
        )
        trials = tuner.oracle.get_best_trials(TRIALS)
    print("best:", trials[0].hyperparameters.values)
    for trial in trials:
        print(f"{trial.score:.3f}", trial.hyperparameters.values)


if __name__ == "__main__":
    main()
