"""Tasks that need a long memory, as `tf.data` pipelines of fresh sequences."""

from keras_floss.tasks.delays import continuous_xor as continuous_xor
from keras_floss.tasks.delays import delayed_copy as delayed_copy
from keras_floss.tasks.delays import hierarchical_xor as hierarchical_xor
from keras_floss.tasks.delays import spatial_xor as spatial_xor
from keras_floss.tasks.delays import temporal_xor as temporal_xor
