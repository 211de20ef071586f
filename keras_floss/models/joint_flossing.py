"""The part of a FlossingModel that adds the flossing loss to every training step."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.penalty import Penalty
from keras_floss.flossing.source import inputs_of
from keras_floss.utils.checks import check_strength


def _with_penalty(train_step):
    """Computes the penalty of joint flossing before a `train_step` opens its tape."""

    @functools.wraps(train_step)
    def wrapper(self, data):
        if self._penalty is None:
            return train_step(self, data)
        with self._penalty().prepared(inputs_of(data)):
            return train_step(self, data)

    return wrapper


class MeanOfFinite(keras.metrics.Mean):
    """A mean that is NaN, and not 0, where nothing was counted."""

    def result(self):
        return tf.where(self.count > 0, super().result(), np.nan)


class JointFlossing:
    """Joint flossing, for a `keras.Model` to inherit from beside it."""

    @property
    def strength(self):
        """The strength of joint flossing, a variable, or None."""
        return None if self._penalty is None else self._penalty().strength

    def _set_joint_flossing(self, strength, settings):
        self._evaluating = False
        self._penalty = None
        if strength is None:
            if settings is not None:
                raise ValueError("`joint` is nothing without a `strength`.")
            return
        check_strength(strength)
        known = [field.name for field in dataclasses.fields(Flossing)]
        for name in settings or ():
            if name not in known:
                raise ValueError(
                    f"`joint` has no setting {name!r}. There are: {', '.join(known)}."
                )
        self._joint = dict(settings or {})
        penalty = Penalty(self, strength, Flossing(**self._joint))
        # In a lambda: Keras would take it, which refers back to this model, for a part.
        self._penalty = lambda: penalty
        self._flossing_loss = MeanOfFinite(name="flossing_loss")
        self._flossing_skipped = keras.metrics.Sum(name="flossing_skipped")

    def _joint_config(self):
        if self._penalty is None:
            return {}
        return {"strength": float(self.strength.numpy()), "joint": self._joint}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "train_step" in vars(cls):
            cls.train_step = _with_penalty(cls.train_step)

    @_with_penalty
    def train_step(self, data):
        return super().train_step(data)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As `keras.Model.compute_loss`, with the penalty of joint flossing in training."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training and self._penalty is not None:
            term, share, skipped = self._penalty().term(x)
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            self._flossing_loss.update_state(share * replicas, 1.0 - skipped)
            self._flossing_skipped.update_state(skipped)
            loss = loss + term
        return loss

    # The penalty is one of training: its metrics have nothing to say in evaluation, where
    # Keras wants the metrics to be those of the step.
    def test_step(self, data):
        logs = super().test_step(data)
        names = [metric.name for metric in self._joint_metrics()]
        return {name: value for name, value in logs.items() if name not in names}

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    @property
    def metrics(self):
        left_out = self._joint_metrics() if self._evaluating else ()
        return [m for m in super().metrics if all(m is not other for other in left_out)]

    def _joint_metrics(self):
        if self._penalty is None:
            return ()
        return self._flossing_loss, self._flossing_skipped
