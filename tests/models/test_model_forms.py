"""All ways to make a FlossingModel stand side by side in one process."""

import itertools

import keras
import numpy as np
import pytest

from keras_floss import FlossingModel

X = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")


def tensors():
    inputs = keras.Input((6, 2))
    x = keras.layers.SimpleRNN(3, name="rnn")(inputs)
    return inputs, keras.layers.Dense(1, name="readout")(x)


def subclass_with_call():
    # A new class each time: Keras rewrites bases when a class is *called* functionally,
    # and it is a later subclass that breaks (keras#17270).
    class OwnCall(FlossingModel):
        def __init__(self):
            super().__init__()
            self.rnn = keras.layers.SimpleRNN(3, name="rnn")
            self.readout = keras.layers.Dense(1, name="readout")

        def call(self, inputs):
            return self.readout(self.rnn(inputs))

    return OwnCall()


def functional_subclass():
    class NoInit(FlossingModel):
        pass

    return NoInit(*tensors())


def by_keywords():
    inputs, outputs = tensors()
    return FlossingModel(inputs=inputs, outputs=outputs)


FORMS = {
    "model": lambda: FlossingModel(keras.Model(*tensors())),
    "positional": lambda: FlossingModel(*tensors()),
    "keywords": by_keywords,
    "subclass_with_call": subclass_with_call,
    "functional_subclass": functional_subclass,
}


def plain_answer(weights):
    """What the plain Keras model of the same architecture answers."""
    plain = keras.Model(*tensors())
    plain.set_weights(weights)
    return plain(X)


# Every form comes once before and once after every other one.
ORDERS = [tuple(FORMS), tuple(reversed(FORMS)), *itertools.permutations(list(FORMS)[-3:])]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_form_is_the_plain_model_whatever_was_made_before(order):
    models = [FORMS[form]() for form in order]
    for model in models:
        assert isinstance(model, FlossingModel)
        answer = model(X)
        # The same operations on the same numbers: rounding at the most.
        np.testing.assert_allclose(answer, plain_answer(model.get_weights()), rtol=1e-6)


def test_making_a_functional_one_leaves_the_class_a_keras_model():
    line = FlossingModel.__mro__
    FlossingModel(*tensors())
    functional_subclass()
    assert FlossingModel.__mro__ == line
    # Functional, the class that Keras would put in, is none of them.
    assert all(base.__module__.startswith("keras_floss") for base in line[:4])
    assert line[4] is keras.Model


@pytest.mark.parametrize("form", FORMS)
def test_weights_go_between_it_and_the_plain_model(form):
    plain, model = keras.Model(*tensors()), FORMS[form]()
    model(X)
    assert not np.allclose(model(X), plain(X))

    model.set_weights(plain.get_weights())
    np.testing.assert_allclose(model(X), plain(X), rtol=1e-6)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    changed = [w + 1.0 for w in model.get_weights()]
    model.set_weights(changed)
    plain.set_weights(model.get_weights())
    for theirs, expected in zip(plain.get_weights(), changed, strict=True):
        np.testing.assert_array_equal(theirs, expected)


@pytest.mark.parametrize("form", FORMS)
def test_weights_stay_exchangeable_once_compiled(form):
    model = FORMS[form]()
    model(X)
    model.compile("adam", "mse")
    shapes = [w.shape for w in keras.Model(*tensors()).get_weights()]
    assert [w.shape for w in model.get_weights()] == shapes


@pytest.mark.parametrize("form", FORMS)
def test_summary_shows_the_layers_of_the_wrapped_model(form):
    model, lines = FORMS[form](), []
    model(X)
    model.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert "rnn" in text
    assert "readout" in text
    assert "SimpleRNN" in text


def test_the_wrapped_model_gives_its_name():
    plain = keras.Model(*tensors(), name="delay_net")
    assert FlossingModel(plain).name == "delay_net"
    assert FlossingModel(plain, name="other").name == "other"
    assert FlossingModel(plain).model is plain


def test_no_model_is_an_error():
    with pytest.raises(ValueError, match="needs a model"):
        FlossingModel()


@pytest.mark.parametrize(
    "thing", ["model", 3, np.zeros((2, 2)), keras.layers.SimpleRNN(3), keras.Input((6, 2))]
)
def test_what_is_no_model_is_an_error(thing):
    with pytest.raises(ValueError, match=r"keras\.Model.*Received"):
        FlossingModel(thing)


@pytest.mark.parametrize("form", ["model", "subclass_with_call"])
def test_flossing_before_compile_is_an_error(form):
    model = FORMS[form]()
    model(X)
    with pytest.raises(ValueError, match="compile"):
        model.floss(X, 1)
    with pytest.raises(ValueError, match="compile"):
        model.lyapunov_spectrum(X)
