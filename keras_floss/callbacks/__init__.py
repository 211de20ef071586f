"""Keras callbacks: flossing before and during `fit`, what to watch, and h-detach."""

from keras_floss.callbacks.adaptive_flossing import AdaptiveFlossing as AdaptiveFlossing
from keras_floss.callbacks.h_detach_annealing import HDetachAnnealing as HDetachAnnealing
from keras_floss.callbacks.lyapunov_monitor import LyapunovMonitor as LyapunovMonitor
from keras_floss.callbacks.periodic_flossing import PeriodicFlossing as PeriodicFlossing
from keras_floss.callbacks.preflossing import Preflossing as Preflossing
