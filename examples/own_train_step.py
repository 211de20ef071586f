"""A model with a `train_step` of its own, as a subclass of FlossingModel.

The network learns a delayed copy at a cost: its `train_step` adds a penalty on the
activity of its units, as models of the brain do, and logs it. Flossing is not in that
step: it has an optimiser of its own, and `Preflossing` and `model.floss` work as with any
model. (Wrapped by `FlossingModel(model)`, a step of one's own would not be called, which
is an error.) It prints accuracy and activity by epoch.
"""

import os

import keras
import tensorflow as tf

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
DELAY, LENGTH = (5, 20) if QUICK else (80, 100)
EPOCHS, UNITS = (2, 8) if QUICK else (10, 64)


class QuietModel(keras_floss.FlossingModel):
    """Says a bit at each step, with little activity."""

    def __init__(self, units, price):
        super().__init__()
        self.rnn = keras.layers.SimpleRNN(units, return_sequences=True, name="rnn")
        self.head = keras.layers.Dense(1)
        self.price = price
        self.activity = keras.metrics.Mean(name="activity")

    def call(self, inputs, training=None):
        return self.head(self.rnn(inputs, training=training))

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            rates = self.rnn(x, training=True)
            outputs = self.head(rates)
            activity = tf.reduce_mean(tf.square(rates))
            loss = self.compute_loss(x, y, outputs, sample_weight) + self.price * activity
        weights = self.trainable_weights
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        self.activity.update_state(activity)
        return self.compute_metrics(x, y, outputs, sample_weight)


def main():
    keras.utils.set_random_seed(0)
    train = keras_floss.tasks.delayed_copy(DELAY, LENGTH)
    model = QuietModel(UNITS, price=0.1)
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    preflossing = keras_floss.callbacks.Preflossing(train)
    data = {"epochs": EPOCHS, "steps_per_epoch": 2 if QUICK else 100, "verbose": 0}
    history = model.fit(train, callbacks=[preflossing], **data).history
    print(preflossing.history.message)
    for accuracy, activity in zip(history["accuracy"], history["activity"], strict=True):
        print(f"accuracy {accuracy:.3f}  activity {activity:.3f}")


if __name__ == "__main__":
    main()
