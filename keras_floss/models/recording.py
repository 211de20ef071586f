"""Finds the recurrent layers of a model, and what each of them is called on.

`layer.input` is of no use here: it is symbolic, knows the first call only, and holds
masks among the inputs. Instead, while the model itself is traced, `call` is replaced on
the instance of each recurrent layer by a recorder, and put back after. This reaches
layers that are shared, nested, masked, wrapped or inside a subclassed model.
"""

import contextlib
import inspect
import threading
import typing

import keras
import tensorflow as tf

from keras_floss.lyapunov.recurrent import as_sequence, directions


class Call(typing.NamedTuple):
    """One call of a recurrent layer: its arguments, and the list of its outputs."""

    layer: keras.layers.RNN
    inputs: tf.Tensor
    initial_state: list | None
    mask: tf.Tensor | None
    outputs: list

    def sequence(self):
        """The call as a `Sequence`."""
        return as_sequence(self.layer, self.inputs, self.initial_state, self.mask)


def recurrent_layers(model):
    """The recurrent layers of a model by name, in the order of the model.

    The layers of a Bidirectional are `name/forward` and `name/backward`. Where names
    repeat, `layer.path` takes their place, and a number is added where those repeat too.
    """
    # id of a recurrent layer -> (it, the layer that names it, direction or "")
    found = {}
    for layer in _walk(model):
        if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
            for direction, rnn in directions(layer).items():
                found.setdefault(id(rnn), (rnn, layer, direction))
    if not found:
        raise ValueError(
            f"The model `{model.name}` has no recurrent layer (`keras.layers.RNN`) whose "
            "Lyapunov exponents could be computed."
        )
    layers = {id(layer): layer for _, layer, _ in found.values()}
    every = [layer.name for layer in layers.values()]
    names, taken = {}, []
    for key, layer in layers.items():
        name = layer.name if every.count(layer.name) == 1 else layer.path
        taken.append(name)
        number = taken.count(name) - 1
        names[key] = f"{name}_{number}" if number else name
    return {
        f"{names[id(layer)]}/{direction}" if direction else names[id(layer)]: rnn
        for rnn, layer, direction in found.values()
    }


def _walk(layer):
    """A layer and all layers in it, in order. (All at once, Keras turns them round.)"""
    yield layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _walk(inner)


def choose_layers(available, chosen):
    """Those of `{name: layer}` that `chosen` (names, layers, or None for all) asks for."""
    if chosen is None:
        return available
    chosen = [chosen] if isinstance(chosen, str | keras.Layer) else list(chosen)
    if not chosen:
        raise ValueError(
            "`layers` must name a recurrent layer, or be None for all of them."
        )
    wanted = set()
    for item in chosen:
        parts = set(map(id, directions(item).values()))
        names = [
            name
            for name, layer in available.items()
            if id(layer) in parts or item in (name, name.rpartition("/")[0] or name)
        ]
        if not names:
            raise ValueError(
                f"`layers` names what is no recurrent layer of the model: {item!r}. "
                f"There are: {', '.join(available)}."
            )
        wanted.update(names)
    return {name: layer for name, layer in available.items() if name in wanted}


def record(model, inputs, layers, watch=None):
    """Calls the model on `inputs`, not training, and notes the calls of its layers.

    Args:
        watch: a GradientTape to watch the inputs and outputs of the layers, or None.

    Returns:
        `({name: [Call, ...]}, outputs)`, the outputs being those of the model.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    with _recording(list(layers.values()), watch) as calls:
        outputs = model(inputs, training=False)
    result = {name: [] for name in layers}
    for name, layer in layers.items():
        result[name] = [c for c in calls if c.layer is layer]
        inner = graph and any(
            tf.is_symbolic_tensor(x) and x.graph is not graph
            for x in keras.tree.flatten([c[1:] for c in result[name]])
        )
        if inner or not result[name]:
            raise ValueError(
                f"The inputs of the recurrent layer `{name}` cannot be reached: it is "
                + (
                    "called inside a loop or a function of the model's own."
                    if inner
                    else "never called when the model is."
                )
                + " Wrap it in `keras_floss.LyapunovRegularizer` instead, or name the "
                "layers to floss in `layers`."
            )
    return result, outputs


def by_call(recorded):
    """`{name: Call}` of what `record` noted; a layer called again has `name/call_1`, ..."""
    return {
        name if len(calls) == 1 else f"{name}/call_{number}": call
        for name, calls in recorded.items()
        for number, call in enumerate(calls, start=1)
    }


# Layer id -> [number of recordings under way, what takes the recorder out again].
# MirroredStrategy traces its replicas in threads, and each of them records for itself.
_patched = {}
_lock = threading.Lock()
_local = threading.local()


@contextlib.contextmanager
def _recording(layers, watch):
    calls = []
    before = getattr(_local, "calls", (None, None))
    _local.calls = calls, watch
    with _lock:
        for layer in layers:
            if id(layer) not in _patched:
                _patched[id(layer)] = [0, _patch(layer)]
            _patched[id(layer)][0] += 1
    try:
        yield calls
    finally:
        _local.calls = before
        with _lock:
            for layer in layers:
                _patched[id(layer)][0] -= 1
                if not _patched[id(layer)][0]:
                    _patched.pop(id(layer))[1]()


def _patch(layer):
    """Puts the recorder in place of `layer.call`; returns what takes it out again."""
    original = layer.call
    signature = inspect.signature(original)
    first = next(iter(signature.parameters))
    # On the cuDNN path a Bidirectional does not call its layers; a stateful layer would
    # store the state that this call ends in.
    changed = {"use_cudnn": False, "stateful": False}
    old = {name: getattr(layer, name) for name in changed if hasattr(layer, name)}

    def recorder(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        if old["stateful"] and bound.arguments.get("initial_state") is None:
            bound.arguments["initial_state"] = [
                v.value for v in keras.tree.flatten(layer.states)
            ]
        calls, watch = getattr(_local, "calls", (None, None))
        if watch is not None:
            # A tensor of its own for each call, which nothing else depends on.
            bound.arguments[first] = tf.identity(bound.arguments[first])
            watch.watch(bound.arguments[first])
        outputs = original(*bound.args, **bound.kwargs)
        if watch is not None:
            outputs = keras.tree.map_structure(tf.identity, outputs)
            watch.watch(keras.tree.flatten(outputs))
        if calls is not None:
            arguments = bound.arguments
            calls.append(
                Call(
                    layer,
                    arguments[first],
                    arguments.get("initial_state"),
                    arguments.get("mask"),
                    keras.tree.flatten(outputs),
                )
            )
        return outputs

    # Past Keras's own __setattr__, which would track what it is given.
    for name in old:
        setattr(layer, name, changed[name])
    layer.__dict__["call"] = recorder

    def undo():
        del layer.__dict__["call"]
        for name, value in old.items():
            setattr(layer, name, value)

    return undo
