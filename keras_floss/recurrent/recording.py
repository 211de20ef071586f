"""Finds the recurrent layers of a model, and what each of them is called on.

`layer.input` is of no use here: it is symbolic, knows the first call only, and holds
masks among the inputs. Instead, while the model itself is traced, `call` is replaced on
the instance of each recurrent layer by a recorder, and put back after. This reaches
layers that are shared, nested, masked, wrapped or inside a subclassed model.
"""

import contextlib
import inspect
import threading

import keras
import tensorflow as tf

from keras_floss.recurrent.fixed_batch import check_batch, fill
from keras_floss.recurrent.runs import Call, as_runs
from keras_floss.recurrent.trajectory import directions
from keras_floss.utils.private_keras import all_layers
from keras_floss.utils.shapes import first_rows


def recurrent_layers(model):
    """The recurrent layers of a model by name, in the order of the model.

    The layers of a Bidirectional are `name/forward` and `name/backward`. Where names
    repeat, `layer.path` takes their place, and a number is added where those repeat too.
    """
    # id of a recurrent layer -> (it, the layer that names it, direction or "")
    found = {}
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
            for direction, rnn in directions(layer).items():
                found.setdefault(id(rnn), (rnn, layer, direction))
    if not found:
        cells = [layer.name for layer in all_layers(model) if hasattr(layer, "state_size")]
        raise ValueError(
            f"The model `{model.name}` has no recurrent layer (`keras.layers.RNN`) whose "
            "Lyapunov exponents could be computed."
            + (
                f" It has a cell, `{cells[0]}`: make it a layer, `keras.layers.RNN(cell, "
                "return_state=True)`, and call that instead, on whole sequences or step by "
                "step with the states handed on as `initial_state`."
                if cells
                else ""
            )
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
    """Calls the model on `inputs`, not training, and notes what its layers run over.

    Args:
        watch: a GradientTape to watch the inputs and outputs of the layers, or None.

    Returns:
        `({name: [Run, ...]}, outputs)`, the outputs being those of the model. A batch that
        is too small for the model is filled up before and cut after.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    filled, rows, size = fill(inputs, model)
    try:
        with _recording(list(layers.values()), watch) as calls:
            outputs = model(filled, training=False)
    except Exception as error:
        check_batch(inputs, model)
        if graph and getattr(model, "run_eagerly", False):
            raise ValueError(
                f"The model `{model.name}` is compiled with `run_eagerly=True`, but its "
                "exponents and gradients are computed in a graph: what its layers do in "
                "`call` must be TensorFlow or `keras.ops`, without `.numpy()`, or stand in "
                f"a `tf.py_function`. What failed: {error}"
            ) from error
        raise
    result = {}
    for name, layer in layers.items():
        own = [call for call in calls if call.layer is layer]
        _check_reached(name, own, graph)
        result[name] = as_runs(name, own)
    if rows is not None:
        outputs = first_rows(outputs, rows)
        # Under a tape the copies stay, with the gradients, which are zero.
        if watch is None:
            result = {
                name: [run.first(rows, size) for run in runs]
                for name, runs in result.items()
            }
    return result, outputs


def _check_reached(name, calls, graph):
    """Raises ValueError where a layer is called out of sight, or not at all."""
    inner = any(
        tf.is_symbolic_tensor(x) and x.graph is not graph
        for x in keras.tree.flatten([call[1:] for call in calls])
    )
    if inner or not calls:
        how = (
            "called inside a TensorFlow loop or a `tf.function` of the model's own. Call "
            "it on whole sequences, or in a plain Python loop that hands the states on,"
            if inner
            else "never called when the model is, unless in a `tf.function` of the model's "
            "own. Call the layer, and not its cell, in plain Python,"
        )
        raise ValueError(
            f"The inputs of the recurrent layer `{name}` cannot be reached: it is {how} or "
            "name the layers to floss in `layers`."
        )


def by_run(recorded):
    """`{name: Run}` of what `record` noted; a layer with several has `name/call_1`, ..."""
    return {
        name if len(runs) == 1 else f"{name}/call_{number}": run
        for name, runs in recorded.items()
        for number, run in enumerate(runs, start=1)
    }


# Layer id -> [number of recordings under way, what takes the recorder out again].
# MirroredStrategy traces its replicas in threads, and each of them records for itself.
_patched: dict = {}
_lock = threading.Lock()
_local = threading.local()


@contextlib.contextmanager
def _recording(layers, watch):
    before = vars(_local).copy()
    _local.calls, _local.watch, _local.states = [], watch, {}
    with _lock:
        for layer in layers:
            if id(layer) not in _patched:
                _patched[id(layer)] = [0, _patch(layer)]
            _patched[id(layer)][0] += 1
    try:
        yield _local.calls
    finally:
        vars(_local).clear()
        vars(_local).update(before)
        with _lock:
            for layer in layers:
                _patched[id(layer)][0] -= 1
                if not _patched[id(layer)][0]:
                    _patched.pop(id(layer))[1]()


class _State:
    """A state variable of a stateful layer that stays as it is while it is recorded.

    What is assigned to it is kept until the recording ends.
    """

    def __init__(self, variable):
        self._variable = variable

    @property
    def value(self):
        states = getattr(_local, "states", {})
        return states.get(id(self), tf.convert_to_tensor(self._variable.value))

    def __tf_tensor__(self, dtype=None, name=None):
        return tf.convert_to_tensor(self.value, dtype)

    def assign(self, value):
        if hasattr(_local, "states"):
            _local.states[id(self)] = value
        else:  # a thread that records nothing
            self._variable.assign(value)


def _patch(layer):
    """Puts the recorder in place of `layer.call`; returns what takes it out again."""
    original = layer.call
    signature = inspect.signature(original)
    first = next(iter(signature.parameters))
    known = (first, "initial_state", "mask", "training")
    # On the cuDNN path a Bidirectional does not call its layers; a stateful layer would
    # store the state that this call ends in.
    changed = {"use_cudnn": False}
    kept = []
    if layer.stateful and layer.states is not None:
        changed["states"] = keras.tree.map_structure(_State, layer.states)
        kept = keras.tree.flatten(changed["states"])

    def recorder(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        arguments = bound.arguments
        if kept and arguments.get("initial_state") is None:
            arguments["initial_state"] = keras.tree.map_structure(
                lambda state: state.value, changed["states"]
            )
        calls = getattr(_local, "calls", None)
        watch = getattr(_local, "watch", None)
        given, entered = arguments.get("initial_state"), []
        if watch is not None:
            # Tensors of its own for each call, which nothing else depends on.
            arguments[first] = tf.identity(arguments[first])
            if given is not None:
                arguments["initial_state"] = keras.tree.map_structure(tf.identity, given)
                entered = keras.tree.flatten(arguments["initial_state"])
            watch.watch([arguments[first], *entered])
        outputs = original(*bound.args, **bound.kwargs)
        if watch is not None:
            outputs = keras.tree.map_structure(tf.identity, outputs)
        output, *states = keras.tree.flatten(outputs)
        if kept:
            states = states or [tf.identity(state.value) for state in kept]
            for state, value in zip(kept, states, strict=True):
                state.assign(value)
        if watch is not None:
            watch.watch([output, *states])
        if calls is not None:
            mask = arguments.get("mask")
            more = [
                name
                for name in arguments
                if name not in known
                and any(map(tf.is_tensor, keras.tree.flatten(arguments[name])))
            ]
            calls.append(
                Call(layer, arguments[first], given, mask, output, states, entered, more)
            )
        return outputs

    changed["call"] = recorder
    # Past Keras's own __setattr__, which would track what it is given.
    attributes = layer.__dict__
    old = {name: attributes[name] for name in changed if name in attributes}
    attributes.update(changed)

    def undo():
        for name in changed:
            attributes.pop(name)
        attributes.update(old)

    return undo
