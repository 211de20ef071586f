"""Quiet TensorFlow logs: an environment variable that counts before the first import."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
