"""Whether a model needs flossing, and what stops its gradient."""
