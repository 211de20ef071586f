"""One run of trial.py: a layer, an arm and a seed on a task."""

import dataclasses
import inspect
import time

import keras
import numpy as np
import tensorflow as tf
from trial_tasks import TASKS

import keras_floss
from keras_floss import callbacks, layers

LAYERS = {
    "simple-rnn": layers.SimpleRNN,
    "rate-rnn": layers.RateRNN,
    "gru": layers.GRU,
    "lstm": layers.LSTM,
}
GATED = ("gru", "lstm")
# What one would take without flossing, for each layer.
RIVALS = {
    "simple-rnn": "identity",
    "rate-rnn": "orthogonal",
    "gru": "chrono",
    "lstm": "chrono",
}
ARMS = (
    "keras",
    "identity",
    "orthogonal",
    "chrono",
    "preflossing",
    "chrono+preflossing",
    "orthogonal+preflossing",
    "adaptive",
    "joint",
)
# Steps of the unseen sequences along which the flossing loss is measured, their number,
# and the updates from one look at the score to the next.
WINDOW, SEQUENCES, LOOK_EVERY = 55, 4, 50


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run: all that makes a row of the results what it is.

    Attributes:
        task, layer, arm: names.
        gain: of the recurrent kernel, drawn from N(0, gain²/units); 0: as Keras has it.
        k: number of exponents that are flossed and measured. 0: Flossing's default is
            flossed, and a quarter of the units (GRU, LSTM) or all are measured.
        target: what they are to be.
        steps: how many flossing steps at most; 0: Flossing's default.
        clip: `global 1.0` or `weight 0.03`: what is clipped, and to which norm.
        readout: of the read-out's kernel, drawn from N(0, readout²); 0: as Keras has it.
    """

    task: str
    layer: str
    arm: str
    seed: int
    units: int = 64
    updates: int = 1000
    learning_rate: float = 1e-3
    clip: str = "global 1.0"
    gain: float = 0.0
    k: int = 0
    target: float = 0.0
    steps: int = 0
    readout: float = 0.0

    @property
    def flossed(self):
        """Whether it is flossed before training."""
        return "flossing" in self.arm or self.arm == "adaptive"

    @property
    def measured_k(self):
        """The number of exponents that are measured."""
        quarter = self.units // 4 if self.layer in GATED else self.units
        return self.k or quarter


@dataclasses.dataclass
class Outcome:
    """What came of it; seconds of flossing and of training are with compilation."""

    T: int = 0
    score: float = np.nan
    reached: bool = False
    updates_to_mark: int | None = None
    largest_drop: float = 0.0
    flossing_steps: int = 0
    ended: str = ""
    flossing_loss: float | None = None
    measured_k: int = 0
    flossing_seconds: float = 0.0
    training_seconds: float = 0.0
    seconds: float = 0.0


class Clock(keras.callbacks.Callback):
    """Two of these around other callbacks: how long those take."""

    def __init__(self, first=None):
        super().__init__()
        self.first, self.seconds = first, 0.0

    def _tick(self, *_, **__):
        self.now = time.perf_counter()
        if self.first:
            self.seconds += self.now - self.first.now

    on_train_begin = on_epoch_begin = on_epoch_end = on_train_end = _tick
    on_train_batch_begin = on_train_batch_end = _tick


class Looks(keras.callbacks.Callback):
    """The score by updates, and the flossing loss when training begins."""

    def __init__(self, run, task, batch):
        super().__init__()
        self.run, self.task, self.batch = run, task, batch
        self.updates, self.scores, self.flossing_loss = [], [], None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0 and self.run.flossed:
            self.flossing_loss = flossing_loss(self.run, self.model, self.batch[0])

    def on_epoch_end(self, epoch, logs=None):
        self.updates.append((epoch + 1) * self.params["steps"])
        self.scores.append(self.task.score(self.model, self.batch))


def flossing_loss(run, model, x):
    """The mean square of the exponents about their target, along unseen sequences."""
    rnn = keras_floss.recurrent_inputs(model, x[:SEQUENCES])["memory"]._asdict()
    rnn["inputs"] = rnn["inputs"][:, :WINDOW]
    settings = {"k": run.measured_k}
    settings["warmup"] = keras_floss.Flossing().warmup_of(rnn["inputs"].shape[1])
    if "of" in inspect.signature(keras_floss.lyapunov_exponents).parameters and not run.k:
        settings["of"] = "output"  # as the read-out sees them
    exponents = keras_floss.lyapunov_exponents(**rnn, **settings)
    return float(np.mean((exponents - run.target) ** 2))


def recurrent_layer(run, task):
    """The layer as Keras has it, or as a rival has it."""
    options = {"return_sequences": task.every_step, "name": "memory"}
    if run.gain:
        normal = keras.initializers.RandomNormal(stddev=run.gain / run.units**0.5)
        options["recurrent_initializer"] = normal
    if run.arm == "identity":  # Le et al. 2015, "IRNN"
        small = keras.initializers.RandomNormal(stddev=0.001)
        options |= {"recurrent_initializer": "identity", "activation": "relu"}
        options["kernel_initializer"] = small
    if "orthogonal" in run.arm:
        options["recurrent_initializer"] = "orthogonal"
    if "chrono" in run.arm:
        options["bias_initializer"] = keras_floss.initializers.Chrono(
            run.units, max_delay=task.length
        )
        if run.layer == "lstm":
            options["unit_forget_bias"] = False
    return LAYERS[run.layer](run.units, **options)


def make_model(run, task):
    """The compiled model, the same for the same seed."""
    keras.utils.set_random_seed(run.seed)
    if task.channels:
        x = inputs = keras.Input((task.length, task.channels))
    else:
        inputs = keras.Input((task.length,), dtype="int32")
        x = keras.layers.Embedding(12, 8, "normal")(inputs)
    x = recurrent_layer(run, task)(x)
    readout, scale = "glorot_uniform", run.readout
    if run.layer == "rate-rnn" and run.task.endswith("-long"):
        scale = 1.0  # as in the released code of the flossing paper
    if scale:
        readout = keras.initializers.RandomNormal(stddev=scale)
    outputs = keras.layers.Dense(task.outputs, kernel_initializer=readout)(x)
    if run.arm in ("adaptive", "joint"):
        strength = 1.0 if run.arm == "joint" else None
        model = keras_floss.FlossingModel(inputs, outputs, strength=strength)
    else:
        model = keras.Model(inputs, outputs)
    what, norm = run.clip.split()
    clip = {"global_clipnorm" if what == "global" else "clipnorm": float(norm)}
    adam = keras.optimizers.Adam(run.learning_rate, **clip)
    # The network of the flossing paper as Keras compiles it: on a CPU without XLA.
    jit_compile = "auto" if run.task.endswith("-long") else True
    model.compile(adam, task.loss(), jit_compile=jit_compile)
    return model


def flossing_callbacks(run, train):
    """The callbacks that floss: without a setting, but for the rows that name some."""
    if not run.flossed:
        return []
    row = {}
    if run.k:
        row |= {"k": run.k, "target": run.target}
        train = train.map(lambda x, *_: x)  # how far it flosses, whatever the task
    if run.steps:
        row["steps"] = run.steps
    arm = [callbacks.Preflossing(train, **row)]
    if run.arm == "adaptive":
        arm.append(callbacks.AdaptiveFlossing(train))
    return arm


def do(run):
    """Does a run, and returns its Outcome."""
    start, task = time.perf_counter(), TASKS[run.task]
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)  # of the order of stored sequences
    train, look, test = task.data(run.seed)
    model = make_model(run, task)
    # Made anew: what flossing takes of a set that is shuffled changes its order.
    flossing = flossing_callbacks(run, task.data(run.seed)[0])
    looks = Looks(run, task, look)
    first = Clock()
    flossed = Clock(first)
    looked = Clock(flossed)
    outcome = Outcome(T=task.length, measured_k=run.measured_k)
    steps = min(LOOK_EVERY, run.updates)
    before = time.perf_counter()
    try:
        model.fit(
            train,
            epochs=run.updates // steps,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[first, *flossing, flossed, looks, looked],
        )
        outcome.score = task.score(model, test)
    except FloatingPointError as error:
        outcome.ended = f"error: {error}"
    fit = time.perf_counter() - before
    outcome.flossing_seconds = flossed.seconds
    outcome.training_seconds = fit - flossed.seconds - looked.seconds
    for number, each in enumerate(keras.tree.flatten([f.history for f in flossing])):
        if number == 0:
            outcome.ended = outcome.ended or each.ended
        # Where flossing is not needed, the one step that was taken is undone.
        outcome.flossing_steps += 0 if each.ended == "not needed" else len(each.epoch)
    outcome.flossing_loss = looks.flossing_loss
    outcome.reached = task.reaches(outcome.score)
    at = [u for u, s in zip(looks.updates, looks.scores, strict=True) if task.reaches(s)]
    outcome.updates_to_mark = at[0] if at else None
    outcome.largest_drop = largest_drop(looks.scores) if task.measure == "accuracy" else 0.0
    outcome.seconds = time.perf_counter() - start
    return outcome


def largest_drop(accuracies, past=0.95):
    """The most that accuracy fell from one look to the next, once it was past 0.95."""
    learned = next((i for i, a in enumerate(accuracies) if a >= past), len(accuracies))
    drops = -np.diff(accuracies[learned:])
    return float(max([0.0, *drops]))


def use_one_thread():
    """Before TensorFlow does anything: so that a run leaves the other cores alone."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
