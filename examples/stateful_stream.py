"""A stateful network that reads an endless stream in pieces.

With `stateful=True` a layer goes on where the piece before ended, so that it can be
trained and asked on a stream of any length, piece by piece. Flossing starts from the state
that is stored, and leaves it as it was. The stream is of bits, and the network is to say
the bit of some steps ago, which may lie in the piece before. It prints the accuracy on the
whole piece and on its first steps, which only a kept state can know, and that pieces give
what the whole does.
"""

import os

import keras
import numpy as np

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
STREAMS, PIECE, DELAY = 16, 50, 20
UNITS, PIECES = (8, 4) if QUICK else (64, 1000)


def stream(pieces, seed):
    """Pieces of the streams one after the other: inputs and targets."""
    bits = np.random.default_rng(seed).integers(0, 2, (STREAMS, DELAY + pieces * PIECE, 1))
    for start in range(0, pieces * PIECE, PIECE):
        end = DELAY + start + PIECE
        yield bits[:, DELAY + start : end].astype("float32"), bits[:, start : end - DELAY]


def make_model(length):
    keras.utils.set_random_seed(0)
    memory = keras.layers.SimpleRNN(
        UNITS, return_sequences=True, stateful=True, name="memory"
    )
    model = keras.Sequential(
        [keras.Input(batch_shape=(STREAMS, length, 1)), memory, keras.layers.Dense(1)]
    )
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model


def main():
    model = make_model(PIECE)
    memory = model.get_layer("memory")
    pieces = list(stream(PIECES, seed=0))
    preflossing = keras_floss.callbacks.Preflossing(pieces[0][0])
    model.fit(*pieces[0], batch_size=STREAMS, verbose=0, callbacks=[preflossing])
    print(preflossing.history.message)
    for x, y in pieces[1:]:
        model.train_on_batch(x, y)

    test = list(stream(4, seed=1))
    memory.reset_state()
    found = [model.predict_on_batch(x) for x, _ in test]
    # The first piece has nothing before it.
    right = np.concatenate(
        [(f > 0) == y for f, (_, y) in zip(found, test, strict=True)][1:]
    )
    print(f"accuracy on the pieces {right.mean():.3f}")
    print(f"on their first {DELAY} steps {right[:, :DELAY].mean():.3f}")

    whole = make_model(4 * PIECE)
    whole.set_weights(model.get_weights())
    x = np.concatenate([x for x, _ in test], axis=1)
    outputs = whole.predict_on_batch(x)
    difference = np.abs(np.concatenate(found, axis=1) - outputs).max()
    print(f"piece by piece and whole differ by at most {difference:.1e}")
    assert difference < 1e-4


if __name__ == "__main__":
    main()
