"""What a user may import: `__all__`, of `keras_floss` and of the modules that it names."""

import inspect

import keras_floss


def public_api(module=keras_floss):
    """`(address, function or class)`, the address without `keras_floss.`."""
    for name in module.__all__:
        thing = getattr(module, name)
        again = module is not keras_floss and thing is getattr(keras_floss, name, None)
        if inspect.ismodule(thing):
            yield from public_api(thing)
        elif callable(thing) and not again:
            address = f"{module.__name__}.{name}"
            yield address.removeprefix("keras_floss."), thing
