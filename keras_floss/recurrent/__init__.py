"""Any Keras layer, cell or function as one map; what the layers of a model run over."""
