"""A flossed model as a SavedModel, served over HTTP.

Flossing changes weights, and nothing of it is left in what is exported: the server needs
TensorFlow alone, neither Keras nor this package. A model is flossed, trained for a moment,
exported, loaded again, and asked over HTTP on this machine. It prints the largest
difference between the answers and the model's own. (The server of the standard library is
for showing only; TensorFlow Serving takes the same folder.)
"""

import http.server
import json
import os
import tempfile
import threading
import urllib.request

import keras
import numpy as np
import tensorflow as tf

import keras_floss

QUICK = "KERAS_FLOSS_QUICK" in os.environ  # a short run, for tests
UNITS, STEPS = (4, 2) if QUICK else (64, 200)
LENGTH = 20


def make_model():
    keras.utils.set_random_seed(0)
    train = keras_floss.tasks.delayed_copy(delay=10, length=LENGTH)
    inputs = keras.Input((LENGTH, 1))
    x = keras.layers.LSTM(UNITS, return_sequences=True)(inputs)
    model = keras_floss.FlossingModel(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    preflossing = keras_floss.callbacks.Preflossing(train, steps=2 if QUICK else 100)
    model.fit(train, steps_per_epoch=STEPS, verbose=0, callbacks=[preflossing])
    return model


def serve(folder):
    """A server of the SavedModel in a folder, on a free port of this machine."""
    loaded = tf.saved_model.load(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            outputs = loaded.serve(tf.constant(request["instances"], tf.float32))
            answer = json.dumps({"predictions": outputs.numpy().tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    model = make_model()
    x = np.random.default_rng(0).integers(0, 2, (3, LENGTH, 1)).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        server = serve(folder)
        body = json.dumps({"instances": x.tolist()}).encode()
        address = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(urllib.request.Request(address, body)) as response:
            predictions = np.array(json.load(response)["predictions"])
        server.shutdown()
        server.server_close()
    difference = np.abs(predictions - model.predict(x, verbose=0)).max()
    print("answers of shape", predictions.shape, f"differ by at most {difference:.1e}")
    assert difference < 1e-5


if __name__ == "__main__":
    main()
