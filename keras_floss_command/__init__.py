"""The command `keras-floss`, as far as it goes without TensorFlow.

A package beside `keras_floss`, from which nothing can be imported without TensorFlow, which
takes seconds: Keras finds the classes of saved models only where they have been imported.
"""
