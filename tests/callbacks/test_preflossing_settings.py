"""What can be known to be wrong is said when the callback is made."""

import numpy as np
import pytest

from keras_floss.callbacks import Preflossing

X = np.zeros((3, 6, 2), "float32")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"steps": 0}, r"`steps`.*0"),
        ({"steps": 1.5}, r"`steps`.*1\.5"),
        ({"batch_size": 0}, r"`batch_size`.*0"),
        ({"window": 0}, r"`window`.*0"),
        ({"window": 2.5}, r"`window`.*2\.5"),
        ({"k": 0}, r"`k`.*0"),
        ({"k": {"rnn": 0}}, r"`k`.*0"),
        ({"qr_interval": 0}, r"`qr_interval`.*0"),
        ({"qr_interval": 9, "window": 8}, r"`qr_interval`.*8.*9"),
        ({"warmup": -1}, r"`warmup`.*-1"),
        ({"warmup": 8, "window": 8}, r"`warmup`.*8.*8"),
        ({"target": np.nan}, r"`target`.*nan"),
        ({"target": [0.0, np.inf]}, r"`target`.*inf"),
        ({"target": [0.0, 0.1], "k": 3}, r"`target`.*3.*0\.1"),
    ],
    ids=str,
)
def test_at_construction(settings, match):
    with pytest.raises(ValueError, match=match):
        Preflossing(X, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1, "window": 1, "warmup": 0},
        {"warmup": 7, "window": 8, "qr_interval": 8},
        {"k": {"a": 2, "b": None}, "target": [0.0, 0.1]},
        {"layers": ["a"], "target": -1, "seed": 3},
    ],
    ids=str,
)
def test_what_lies_at_the_edge_is_taken(settings):
    assert Preflossing(X, **settings).history is None
