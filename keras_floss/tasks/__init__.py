"""Tasks that need a long memory: `tf.data` pipelines of fresh sequences, and images."""

from keras_floss.tasks.adding import adding_problem as adding_problem
from keras_floss.tasks.copying import copying_accuracy as copying_accuracy
from keras_floss.tasks.copying import copying_memory as copying_memory
from keras_floss.tasks.delays import continuous_xor as continuous_xor
from keras_floss.tasks.delays import delayed_copy as delayed_copy
from keras_floss.tasks.delays import hierarchical_xor as hierarchical_xor
from keras_floss.tasks.delays import spatial_xor as spatial_xor
from keras_floss.tasks.delays import temporal_xor as temporal_xor
from keras_floss.tasks.pixels import sequential_digits as sequential_digits
from keras_floss.tasks.pixels import sequential_mnist as sequential_mnist
