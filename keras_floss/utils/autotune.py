"""Datasets whose iterators are dropped without delay."""

import tensorflow as tf


def without_autotune(dataset):
    """A `tf.data.Dataset` that nothing tunes, unless its options say otherwise already.

    Dropping an iterator waits for the thread that tunes its pipeline. About one time in
    four that thread misses the signal and sleeps on (TensorFlow 2.21), the longer the older
    the iterator is: seconds after a few hundred flossing steps, at most a minute.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
