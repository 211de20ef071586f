"""Looks at the gradient of the task's loss, traced once for a model."""

import functools

from keras_floss.diagnostics.unchanged_metrics import unchanged_metrics
from keras_floss.recurrent.recording import choose_layers, recurrent_layers
from keras_floss.utils.private_keras import compiled_loss
from keras_floss.utils.traces import call_kept


def look_at_gradient(function, model, layers, data):
    """`function(model, layers, *data)` in graph mode, the metrics left as they are.

    Args:
        function: returns tensors.
        model: a compiled and built `keras.Model`. Its traces are kept on it.
        layers: recurrent layers, as names or layers, or None for all; `function` has them
            by name.
        data: `(x, y)` or `(x, y, sample_weight)`, as tensors.
    """
    if not model.compiled:
        raise ValueError(
            f"The model `{model.name}` has no loss: compile it before its gradients are "
            "looked at."
        )
    layers = choose_layers(recurrent_layers(model), layers)
    call = functools.partial(function, model, layers)
    with unchanged_metrics(model):
        # Of the loss that it was last compiled with: Keras makes a new one each time.
        return call_kept(model, (function, *layers), call, data, compiled_loss(model))
