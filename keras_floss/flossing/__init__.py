"""The engine that flosses the recurrent layers of any Keras model."""
