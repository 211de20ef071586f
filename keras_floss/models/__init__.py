"""Models: the flossing engine, and the model that carries it."""

from keras_floss.models.flosser import Flosser as Flosser
from keras_floss.models.flossing_model import FlossingModel as FlossingModel
from keras_floss.models.gradient_norms import gradient_norms as gradient_norms
