"""Refuses to wrap a model whose own way of training would be dropped by it."""

import inspect

import keras

# What `compile`, `fit`, `evaluate` and `predict` are made of.
HOOKS = (
    "compile",
    "fit",
    "evaluate",
    "predict",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
    "make_train_function",
    "make_test_function",
    "make_predict_function",
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "metrics",
    "get_metrics_result",
    "reset_metrics",
)


def check_no_own_steps(model, wrapper, kind):
    """Raises ValueError where `model` has a hook that nobody calls once it is wrapped.

    Args:
        kind: the class whose hooks would be called in place of those of `model`. What
            `wrapper` has of its own, it has in their place.
    """
    if isinstance(model, kind):
        raise ValueError(
            f"The model to wrap is a `FlossingModel` already: floss it as it is, or wrap "
            f"another model. Received: {model!r}"
        )
    dropped = [
        f"`{name}`"
        for name in HOOKS
        if not _same(name, model, keras.Model) and _same(name, type(wrapper), kind)
    ]
    if dropped:
        raise ValueError(
            f"`FlossingModel` trains in its own way and would never call the "
            f"{', '.join(dropped)} of the model that it wraps. Leave that model as it is "
            "and floss it by `keras_floss.callbacks` (`Preflossing` and the others take "
            "any Keras model), or derive its class from `FlossingModel` in place of "
            f"`keras.Model`. Received: {model!r}"
        )


def _same(name, one, other):
    return inspect.getattr_static(one, name) is inspect.getattr_static(other, name)
