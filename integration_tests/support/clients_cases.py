"""What public packages do with Keras, for `clients_test.py`.

    python integration_tests/support/checkout_finder.py [--stock]
        integration_tests/support/clients_cases.py FOLDER

takes the packages from a folder, runs each case on its own, and prints as its
last line what they found, as JSON by the name of the case. Whatever a case
raises stands there in its place, so that the others are judged all the same.
"""

import importlib.util
import json
import sys
import tempfile
import traceback

if importlib.util.find_spec("torch"):
    # After TensorFlow, torch would find libraries that are not its own.
    import torch  # noqa: F401

import numpy as np

import keras

ONES = np.ones((2, 1), "float32")
ZEROS = 0 * ONES


def head(name, kernel):
    """A layer that multiplies by `kernel`."""
    return keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        name=name,
    )


def two_headed(**kernels):
    inputs = keras.Input((1,))
    return keras.Model(
        inputs, [head(name, kernel)(inputs) for name, kernel in kernels.items()]
    )


def softadapt():
    """Its callback writes other loss weights into `_flat_losses`."""
    from softadapt.callbacks import AdaptiveLossCallback

    model = two_headed(a=2.0, b=3.0)
    # A traced step would never see the new weights.
    model.compile(keras.optimizers.SGD(0.125), ["mae", "mse"], run_eagerly=True)
    callback = AdaptiveLossCallback(["a", "b"])
    history = model.fit(
        ONES, [ZEROS, ZEROS], epochs=4, callbacks=[callback], verbose=0
    ).history
    return {
        "history": history,
        "weights": [
            float(keras.ops.convert_to_numpy(weight))
            for weight in callback.weights
        ],
        "kernels": [weight.item() for weight in model.get_weights()],
    }


def perplexity():
    """A metric with a loss of Keras' own inside, at a masked output."""
    import keras_hub

    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(3, 3, mask_zero=True),
            keras.layers.Activation("softmax"),
        ]
    )
    # What follows a token, by its row.
    model.set_weights([np.log(PROBABILITIES)])
    model.compile(
        keras.optimizers.SGD(0.0),
        "sparse_categorical_crossentropy",
        metrics=[keras_hub.metrics.Perplexity(mask_token_id=0)],
        weighted_metrics=[
            keras_hub.metrics.Perplexity(mask_token_id=0, name="weighted")
        ],
        run_eagerly=True,
    )
    tokens, following = np.array(TOKENS), np.array(FOLLOWING)
    weights = np.array(SAMPLE_WEIGHTS, "float32")
    history = model.fit(tokens, following, batch_size=1, verbose=0).history
    plain = model.evaluate(tokens, following, verbose=0, return_dict=True)
    weighted = model.evaluate(
        tokens,
        following,
        sample_weight=weights,
        verbose=0,
        return_dict=True,
    )
    return {"history": history, "plain": plain, "weighted": weighted}


PROBABILITIES = np.array(
    [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], "float32"
)
TOKENS = [[1, 2, 0], [2, 0, 0]]
FOLLOWING = [[2, 1, 0], [2, 0, 0]]
SAMPLE_WEIGHTS = [[1.0, 2.0, 4.0], [3.0, 1.0, 1.0]]


def keras_tuner():
    """The raw loss of one output as the objective."""
    import keras_tuner

    def build(hyperparameters):
        kernel = hyperparameters.Choice("kernel", [4.0, 1.0])
        # The better one output is, the worse is the other one.
        model = two_headed(a=kernel, b=8.0 / kernel)
        model.compile(
            keras.optimizers.SGD(0.0),
            ["mae", "mae"],
            loss_weights=[1.0, 100.0],
            run_eagerly=True,
        )
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.GridSearch(
            build,
            objective=keras_tuner.Objective("val_a_loss", "min"),
            directory=folder,
            project_name="objective",
        )
        y = [ZEROS, ZEROS]
        tuner.search(
            ONES, y, validation_data=(2 * ONES, y), epochs=1, verbose=0
        )
        return {
            "scores": {
                trial.hyperparameters.get("kernel"): float(trial.score)
                for trial in tuner.oracle.trials.values()
            },
            "best": tuner.get_best_hyperparameters()[0].get("kernel"),
        }


def scikeras():
    """An estimator, and its own words where there is no loss."""
    from scikeras.wrappers import KerasRegressor

    def build():
        return keras.Sequential([keras.Input((1,)), head("a", 2.0)])

    x = np.array([[1.0], [3.0]], "float32")
    y = np.zeros((2,), "float32")
    estimator = KerasRegressor(
        build,
        loss="mse",
        metrics=["mae"],
        optimizer=keras.optimizers.SGD,
        optimizer__learning_rate=0.0,
        verbose=0,
    )
    estimator.fit(x, y)
    refused = KerasRegressor(build, loss=[None], verbose=0)
    try:
        refused.fit(x, y)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    return {
        "history": dict(estimator.history_),
        "predictions": estimator.predict(x).tolist(),
        "message": message,
    }


def autokeras():
    """Compiles with a `None` for each head whose loss it doesn't know."""
    import autokeras
    import keras_tuner
    from autokeras import graph

    def built(*heads):
        inputs = autokeras.Input(shape=(2,))
        hidden = autokeras.DenseBlock()(inputs)
        model = graph.Graph(
            inputs=inputs, outputs=[head(hidden) for head in heads]
        ).build(keras_tuner.HyperParameters())
        # Each layer takes means, so that the outputs for ones are 1.
        model.set_weights(
            [
                np.full(weight.shape, 1.0 / len(weight))
                if weight.ndim == 2
                else 0 * weight
                for weight in model.get_weights()
            ]
        )
        return model

    def regression(**arguments):
        head = autokeras.RegressionHead(**arguments)
        head.shape = (1,)
        return head

    without = built(
        regression(loss=None, metrics=[]), regression(loss=None, metrics=[])
    )
    partly = built(
        regression(metrics=["mae"]), regression(loss=None, metrics=[])
    )
    x, y = np.ones((2, 2), "float32"), 3 * ONES
    logs = partly.evaluate(x, [y, y], verbose=0, return_dict=True)
    name = partly.output_names[0]
    return {
        "losses": list(without.loss.values()),
        "predictions": [
            values.tolist() for values in without.predict(x, verbose=0)
        ],
        "loss": logs["loss"],
        "mae": logs[f"{name}_mae"],
        "list": partly.evaluate(x, [y, y], verbose=0),
    }


CASES = (softadapt, perplexity, keras_tuner, scikeras, autokeras)


def main(folder):
    # Last: the packages shall find what the environment has.
    sys.path.append(folder)
    found = {}
    for case in CASES:
        try:
            found[case.__name__] = case()
        except Exception:
            found[case.__name__] = {"error": traceback.format_exc()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
