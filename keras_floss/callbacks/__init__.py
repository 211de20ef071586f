"""Keras callbacks: flossing before and during `fit`, what to watch, and h-detach."""

from keras_floss.callbacks.adaptive_flossing import AdaptiveFlossing
from keras_floss.callbacks.h_detach_annealing import HDetachAnnealing
from keras_floss.callbacks.lyapunov_monitor import LyapunovMonitor
from keras_floss.callbacks.periodic_flossing import PeriodicFlossing
from keras_floss.callbacks.preflossing import Preflossing

__all__ = [
    "AdaptiveFlossing",
    "HDetachAnnealing",
    "LyapunovMonitor",
    "PeriodicFlossing",
    "Preflossing",
]
