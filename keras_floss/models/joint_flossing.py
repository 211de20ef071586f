"""The part of a FlossingModel that adds the flossing loss to every training step."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_floss.flossing.flossing import Flossing
from keras_floss.flossing.flossing_pass import replicas
from keras_floss.flossing.penalty import Penalty
from keras_floss.flossing.source import inputs_of
from keras_floss.utils.checks import check_not_negative
from keras_floss.utils.typing import Arrays, Logs


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

    def result(self) -> tf.Tensor:
        return tf.where(self.count > 0, super().result(), np.nan)


class JointFlossing(keras.Model):
    """A model that may add the flossing loss to the loss of every training step."""

    @property
    def strength(self) -> tf.Variable | None:
        """The strength of joint flossing, a variable, or None."""
        return None if self._penalty is None else self._penalty().strength

    def _set_joint_flossing(self, strength: float | None, flossing: Flossing) -> None:
        self._evaluating = False
        self._penalty: Callable[[], Penalty] | None = None
        if strength is None:
            return
        check_not_negative("strength", strength)
        penalty = Penalty(self, strength, flossing)
        # In a lambda: Keras would track it, which refers back to this model, as a part.
        self._penalty = lambda: penalty
        self._flossing_loss = MeanOfFinite(name="flossing_loss")
        self._flossing_skipped = keras.metrics.Sum(name="flossing_skipped")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "train_step" in vars(cls):
            cls.train_step = _with_penalty(cls.train_step)  # type: ignore[method-assign]

    @_with_penalty
    def train_step(self, data: Any) -> Logs:
        return super().train_step(data)

    def compute_loss(
        self,
        x: Arrays | None = None,
        y: Arrays | None = None,
        y_pred: Arrays | None = None,
        sample_weight: Arrays | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """As `keras.Model.compute_loss`, with the penalty of joint flossing in training."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training and self._penalty is not None:
            term, share, skipped = self._penalty().term(x)
            self._flossing_loss.update_state(share * replicas(), 1.0 - skipped)
            self._flossing_skipped.update_state(skipped)
            loss = loss + term
        return loss

    # The penalty belongs to training: its metrics say nothing in evaluation, where Keras
    # wants the metrics to be those of the step.
    def test_step(self, data: Any) -> Logs:
        logs = super().test_step(data)
        names = [metric.name for metric in self._joint_metrics()]
        return {name: value for name, value in logs.items() if name not in names}

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    @property
    def metrics(self) -> list[keras.Metric]:
        left_out = self._joint_metrics() if self._evaluating else ()
        return [m for m in super().metrics if all(m is not other for other in left_out)]

    def _joint_metrics(self) -> tuple:
        if self._penalty is None:
            return ()
        return self._flossing_loss, self._flossing_skipped
