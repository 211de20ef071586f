"""The model that carries a flossing engine."""

from keras_floss.models.flossing_model import FlossingModel as FlossingModel
