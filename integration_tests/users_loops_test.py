"""Programs that read what the losses leave, and write to it, go on working.

Users loop over `model.metrics`, unpack the list that `evaluate` returns, zip
it with `metrics_names`, and reach for a few private attributes. A test, or a
set of parameters, for each such program. Parts 1 to 9 pass on stock Keras,
too; part 10 holds what stock gets wrong as well, and part 11 what only the
fork has.

The heads of most models multiply by known kernels and all labels are 0, so
that the mean absolute error is the kernel times the mean of x, and the mean
squared error its square for ones.
"""

import contextlib
import copy
import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import keras

BACKEND = keras.backend.backend()
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow's trainer has it"
)
not_jax = pytest.mark.skipif(
    BACKEND == "jax", reason="JAX's steps get state and give it back"
)
MODES = pytest.mark.parametrize(
    "eager", [False, True], ids=["compiled", "eager"]
)


@pytest.fixture(scope="session")
def stock(request):
    return request.config.getoption("--stock")


def column(*values):
    return np.array(values, "float32").reshape(-1, 1)


def head(name, kernel, cls=keras.layers.Dense, **arguments):
    """A layer that multiplies by `kernel`."""
    return cls(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        name=name,
        **arguments,
    )


def functional(kernels, container=list, cls=keras.Model, own=None):
    """A model with an output for each name, in this order.

    Args:
        kernels: What each output multiplies by, as a dict.
        container: `list`, `dict`, or `None` for a single bare output.
        cls: The class of the model.
        own: Metrics of the layers that make the outputs, as a dict.
    """
    inputs = keras.Input((1,))
    layers = {name: head(name, kernel) for name, kernel in kernels.items()}
    for name, metric in (own or {}).items():
        layers[name].own = metric
    outputs = {name: layer(inputs) for name, layer in layers.items()}
    if container is None:
        (outputs,) = outputs.values()
    elif container is list:
        outputs = list(outputs.values())
    return cls(inputs, outputs)


def still(model, loss="mae", eager=True, **arguments):
    """Compiles a model to be trained without being changed."""
    model.compile(
        keras.optimizers.SGD(0.0), loss=loss, run_eagerly=eager, **arguments
    )
    return model


def zeros(model, rows):
    """A label of 0 for each sample of each output."""
    return keras.tree.map_structure(
        lambda output: np.zeros((rows, 1), "float32"), model.output
    )


def number(tensor):
    return float(keras.ops.convert_to_numpy(tensor))


def approx(expected):
    return pytest.approx(expected, rel=1e-5)


def evaluated(model, x, y=None, **arguments):
    """The dict form of `evaluate`."""
    y = zeros(model, len(x)) if y is None else y
    return model.evaluate(x, y, verbose=0, return_dict=True, **arguments)


class Fixed(keras.metrics.Metric):
    """A metric with the same result whatever happens, and no state.

    Args:
        value: The result.
        name: The name.
    """

    def __init__(self, value, name):
        super().__init__(name=name)
        self.value = value

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return keras.ops.convert_to_tensor(self.value, "float32")


class Pair(Fixed):
    """A metric with two results."""

    def result(self):
        return {
            "zz": keras.ops.convert_to_tensor(self.value, "float32"),
            "bb": keras.ops.convert_to_tensor(-self.value, "float32"),
        }


# 1. Raw losses are metrics like any other.

# Means of 2 and of 44, each of two batches of one sample.
X = column(1, 3)
KERNELS = {"a": 1.0, "b": 22.0}
RAW = {"a_loss": 2.0, "b_loss": 44.0}
TOTAL = 46.0


def raw_loss(model, name):
    """The metric that records a raw loss."""
    (found,) = [metric for metric in model.metrics if metric.name == name]
    return found


@pytest.mark.parametrize(
    "kept",
    [
        ["loss", "b_loss"],
        ["b_loss"],
        ["b_loss", "loss", "a_loss", "compile_metrics"],
    ],
    ids="+".join,
)
@pytest.mark.parametrize(
    "method,eager",
    [("fit", False), ("evaluate", False), ("fit", True)],
    ids=["fit", "evaluate", "eager_fit"],
)
def test_own_list_of_metrics(kept, method, eager):
    class Keeps(keras.Model):
        @property
        def metrics(self):
            found = {metric.name: metric for metric in super().metrics}
            return [found[name] for name in kept if name in found]

    model = functional(KERNELS, cls=Keeps)
    still(model, metrics=[[Fixed(7.0, "m")], None], eager=eager)
    known = {**RAW, "loss": TOTAL, "compile_metrics": 7.0}
    expected = {name: known[name] for name in kept}
    if "compile_metrics" in kept:
        expected["a_m"] = expected.pop("compile_metrics")
    y = zeros(model, 2)
    if method == "fit":
        # What the first epoch recorded is not in the second one.
        history = model.fit(X, y, batch_size=1, epochs=2, verbose=0).history
        assert history == {
            name: approx([value, value]) for name, value in expected.items()
        }
    else:
        for _ in range(2):
            logs = evaluated(model, X, y, batch_size=1)
            assert logs == approx(expected)


def stateless_losses(model, state, compute=lambda function: function):
    """Hands the state of metrics on from batch to batch, assigning nothing."""

    @compute
    def step(trainable, others, state, x, y):
        y_pred, others = model.stateless_call(trainable, others, x)
        _, new = model.stateless_compute_loss(
            trainable, others, state, x=x, y=y, y_pred=y_pred
        )
        return new

    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    for x in (X[:1], X[1:]):
        x = keras.ops.convert_to_tensor(x)
        y = keras.tree.map_structure(lambda _: 0.0 * x, model.output)
        trainable, others, state = step(trainable, others, state, x, y)
    return state


def stateless_results(model, state):
    """Slices the state of all metrics as the guides do."""
    found = {}
    for metric in model.metrics:
        count = len(metric.variables)
        found[metric.name] = metric.stateless_result(state[:count])
        state = state[count:]
    assert len(state) == 0
    return found


def with_recorded(**arguments):
    """A model whose raw losses are not 0 at the beginning."""
    model = still(functional(KERNELS), **arguments)
    evaluated(model, X, batch_size=1)
    return model


def reset_one_by_one(model):
    return [
        value
        for metric in model.metrics
        for value in metric.stateless_reset_state()
    ]


def reset_and_read(model):
    model.reset_metrics()
    return [variable.value for variable in model.metrics_variables]


@pytest.mark.parametrize("start", [reset_one_by_one, reset_and_read])
@pytest.mark.parametrize("container", [list, dict])
def test_stateless_loop(start, container):
    model = still(functional(KERNELS, container))
    evaluated(model, X, batch_size=1)
    state = stateless_losses(model, start(model))
    found = stateless_results(model, state)
    for name, value in RAW.items():
        assert number(found[name]) == approx(value)


@only_jax
def test_stateless_loop_in_jit():
    import jax

    model = with_recorded()
    state = stateless_losses(model, reset_one_by_one(model), jax.jit)
    found = stateless_results(model, state)
    for name, value in RAW.items():
        assert number(found[name]) == approx(value)


def test_stateless_loop_assigns_nothing():
    model = with_recorded()
    before = [variable.numpy() for variable in model.metrics_variables]
    stateless_losses(model, reset_one_by_one(model))
    after = [variable.numpy() for variable in model.metrics_variables]
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", RAW)
@MODES
def test_entry_is_a_mean(name, eager):
    metric = raw_loss(with_recorded(eager=eager), name)
    assert isinstance(metric, keras.metrics.Mean)
    assert number(metric.total) == approx(2 * RAW[name])
    assert number(metric.count) == 2.0
    assert number(metric.result()) == approx(RAW[name])
    assert [
        variable is own
        for variable, own in zip(
            metric.variables, [metric.total, metric.count], strict=True
        )
    ] == [True, True]


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize(
    "values,weights,total,count",
    [
        (7.0, None, 7.0, 1.0),
        ([1.0, 3.0], None, 4.0, 2.0),
        (7.0, 3.0, 21.0, 3.0),
        ([1.0, 3.0], [0.0, 2.0], 6.0, 2.0),
    ],
    ids=["number", "values", "weight", "weights"],
)
@pytest.mark.parametrize("stateless", [False, True])
def test_entry_is_updated_by_hand(
    name, values, weights, total, count, stateless
):
    model = with_recorded()
    metric = raw_loss(model, name)
    expected = (2 * RAW[name] + total) / (2.0 + count)
    if stateless:
        state = [variable.value for variable in metric.variables]
        state = metric.stateless_update_state(
            state, values, sample_weight=weights
        )
        assert number(metric.stateless_result(state)) == approx(expected)
        expected = RAW[name]
    else:
        metric.update_state(values, sample_weight=weights)
    assert number(metric.result()) == approx(expected)
    (other,) = set(RAW) - {name}
    assert number(raw_loss(model, other).result()) == approx(RAW[other])


@pytest.mark.parametrize("name", RAW)
def test_entry_is_called(name):
    metric = raw_loss(with_recorded(), name)
    expected = (2 * RAW[name] + 7.0) / 3.0
    assert number(metric(7.0)) == approx(expected)


@pytest.mark.parametrize("name", ["loss", *RAW])
def test_reset_of_one_entry(name):
    model = with_recorded()
    raw_loss(model, name).reset_state()
    for other, value in {"loss": TOTAL, **RAW}.items():
        found = number(raw_loss(model, other).result())
        assert found == approx(0.0 if other == name else value)


@pytest.mark.parametrize("name", RAW)
def test_stateless_reset_of_one_entry(name):
    model = with_recorded()
    metric = raw_loss(model, name)
    state = metric.stateless_reset_state()
    assert [number(value) for value in state] == [0.0, 0.0]
    state = metric.stateless_update_state(state, 7.0)
    assert number(metric.stateless_result(state)) == 7.0
    for other, value in RAW.items():
        assert number(raw_loss(model, other).result()) == approx(value)


def test_entry_is_assigned_to():
    """What a program restores that keeps the state of metrics itself."""
    model = with_recorded()
    raw_loss(model, "b_loss").total.assign(30.0)
    raw_loss(model, "b_loss").count.assign(3.0)
    found = model.get_metrics_result()
    assert number(found["b_loss"]) == approx(10.0)
    assert number(found["a_loss"]) == approx(2.0)


def test_no_two_metrics_share_a_variable():
    model = with_recorded(metrics=[["mae"], ["mae"]])
    variables = [
        id(variable)
        for metric in model.metrics
        for variable in metric.variables
    ]
    assert len(variables) == len(set(variables)) == 2 * (1 + 2 + 2)
    assert variables == [id(each) for each in model.metrics_variables]


# The mean of the labels, 1 and 5, weighted with the predictions of both heads.
# For x = 1 and 3, those are 1 and 3, and 22 and 66.
LOOP_Y = column(1, 5)
LOOPED = (1 * (1 + 22) + 5 * (3 + 66)) / (1 + 22 + 3 + 66)


def looped_mae(kernel):
    """The mean of |kernel * x - y|."""
    return float(np.mean(np.abs(kernel * X - LOOP_Y)))


@not_jax
@MODES
def test_all_metrics_updated_in_a_step(eager):
    """The loop of Keras' guides, which is written for one output."""

    class Loops(keras.Model):
        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            loss = self.compute_loss(x, y, y_pred)
            raw_losses = self._compile_loss.metrics
            for metric in raw_losses:
                metric.reset_state()
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return self.get_metrics_result()

    model = functional(KERNELS, cls=Loops)
    still(model, metrics=[["mae"], ["mae"]], eager=eager)
    found = evaluated(model, X, [LOOP_Y, LOOP_Y])
    raw = {f"{name}_mae": looped_mae(KERNELS[name]) for name in KERNELS}
    assert found == approx(
        {
            "loss": sum(raw.values()),
            **raw,
            "a_loss": LOOPED,
            "b_loss": LOOPED,
        }
    )


@not_jax
@MODES
def test_all_metrics_updated_alike(eager):
    """The same loop without an exception for the total."""

    class Loops(keras.Model):
        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            for metric in self.metrics:
                metric.update_state(y, y_pred)
            return {metric.name: metric.result() for metric in self.metrics}

    model = functional(KERNELS, cls=Loops)
    still(model, metrics=[["mae"], ["mae"]], eager=eager)
    found = evaluated(model, X, [LOOP_Y, LOOP_Y])
    assert found["loss"] == approx(LOOPED)
    assert found["a_mae"] == approx(looped_mae(1.0))
    assert found["b_mae"] == approx(looped_mae(22.0))


@only_jax
@MODES
def test_all_metrics_updated_in_a_step_on_jax(eager):
    """The loop of Keras' guide to steps on JAX."""

    class Loops(keras.Model):
        def test_step(self, state, data):
            x, y = data
            trainable, others, metrics_variables = state
            y_pred, others = self.stateless_call(
                trainable, others, x, training=False
            )
            loss, _ = self.stateless_compute_loss(
                trainable,
                others,
                metrics_variables,
                x=x,
                y=y,
                y_pred=y_pred,
            )
            logs, new = {}, []
            for metric in self.metrics:
                own = metrics_variables[
                    len(new) : len(new) + len(metric.variables)
                ]
                if metric.name == "loss":
                    own = metric.stateless_update_state(own, loss)
                else:
                    own = metric.stateless_update_state(own, y, y_pred)
                logs[metric.name] = metric.stateless_result(own)
                new += own
            return logs, (trainable, others, new)

    model = functional(KERNELS, cls=Loops)
    still(model, metrics=[["mae"], ["mae"]], eager=eager)
    y = [LOOP_Y, LOOP_Y]
    found = evaluated(model, X, y)
    assert found["a_mae"] == approx(looped_mae(1.0))
    assert found["b_mae"] == approx(looped_mae(22.0))
    assert found["a_loss"] == found["b_loss"] == approx(LOOPED)


@only_tensorflow
@MODES
@pytest.mark.filterwarnings("ignore:`model.compiled_metrics")
def test_compiled_metrics(eager):
    """The old loop, which gives means the predictions alone."""

    class Loops(keras.Model):
        def test_step(self, data):
            x, y = data
            y_pred = self(x, training=False)
            self.compute_loss(x, y, y_pred)
            for metric in self.metrics:
                metric.reset_state()
            self.compiled_metrics.update_state(y, y_pred)
            return self.get_metrics_result()

    model = functional(KERNELS, cls=Loops)
    still(model, metrics=[["mae"], ["mae"]], eager=eager)
    # Means of the predictions 1, 3, 22 and 66.
    found = evaluated(model, X, [LOOP_Y, LOOP_Y])
    assert found == approx(
        {
            "loss": 23.0,
            "a_loss": 23.0,
            "b_loss": 23.0,
            "a_mae": looped_mae(1.0),
            "b_mae": looped_mae(22.0),
        }
    )


@pytest.mark.parametrize("form", ["own_loop", "dict"])
def test_own_logs(form):
    """A step's logs may be built from the entries, under any name."""

    class Renames(keras.callbacks.Callback):
        seen = None

        def on_test_end(self, logs=None):
            if form == "dict":
                found = self.model.get_metrics_result()
            else:
                found = {m.name: m.result() for m in self.model.metrics}
            self.seen = {name: number(value) for name, value in found.items()}

    model = still(functional(KERNELS))
    callback = Renames()
    evaluated(model, X, batch_size=1, callbacks=[callback])
    assert callback.seen == approx({"loss": TOTAL, **RAW})


# 2. The size of a batch is that of the first output with a loss.

SIDE_OUTPUTS = {
    "codebook": lambda x: keras.ops.ones((3, 2)),
    "attentions": lambda x: keras.ops.stack([x, x]),
    "anchors": lambda x: keras.ops.ones((5, 4)),
}
# Batches of 2, 2 and 1 sample: (2 * 15 + 2 * 30 + 40) / 5.
SIZED_X = column(10, 20, 30, 30, 40)
SIZED = 26.0


class WithSideOutput(keras.Model):
    """Has an output, the first by name, that has no samples and no loss."""

    def __init__(self, side):
        super().__init__()
        self.side = side
        self.b = head("b", 1.0)
        self.c = head("c", 2.0)

    def call(self, x):
        return {"a": self.side(x), "b": self.b(x), "c": self.c(x)}


def sized(side, labels, eager):
    model = WithSideOutput(SIDE_OUTPUTS[side])
    loss = {"b": "mae", "c": "mae"}
    y = {"b": 0 * SIZED_X, "c": 0 * SIZED_X}
    if labels == "partial":
        loss = {"a": None, **loss}
    else:
        y = {"a": 0 * SIZED_X, **y}
    still(model, loss, eager=eager)
    expected = {"loss": 3 * SIZED, "b_loss": SIZED, "c_loss": 2 * SIZED}
    logs = evaluated(model, SIZED_X, y, batch_size=2)
    assert logs == approx(expected)
    history = model.fit(
        SIZED_X, y, batch_size=2, shuffle=False, verbose=0
    ).history
    assert history == {name: approx([v]) for name, v in expected.items()}


@pytest.mark.parametrize("side", SIDE_OUTPUTS)
@pytest.mark.parametrize("labels", ["partial", "full"])
@pytest.mark.parametrize(
    "eager",
    [
        pytest.param(
            False,
            marks=pytest.mark.skipif(
                BACKEND == "tensorflow", reason="in part 10"
            ),
            id="compiled",
        ),
        pytest.param(True, id="eager"),
    ],
)
def test_size_beside_an_output_without_samples(side, labels, eager):
    sized(side, labels, eager)


# 3. A `compute_loss` of the user's own gives `super()` what it likes.


WITH_METRICS = pytest.mark.parametrize(
    "metrics,eager",
    [(False, True), (True, True), (True, False)],
    ids=["plain", "metrics", "compiled"],
)


class Renames(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y = {"first": y["z"], "second": y["a"]}
        y_pred = {"first": y_pred["z"], "second": y_pred["a"]}
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


class RenamesToList(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y, y_pred = [[each["z"], each["a"]] for each in (y, y_pred)]
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


@pytest.mark.parametrize("cls", [Renames, RenamesToList])
@WITH_METRICS
def test_renamed_for_the_losses(cls, metrics, eager):
    model = functional({"z": 2.0, "a": 3.0}, dict, cls)
    loss = {"first": "mse", "second": "mae"}
    if cls is RenamesToList:
        loss = list(loss.values())
    arguments = {}
    # z: 2^2 and 2; a: 3.
    expected = {"loss": 7.0}
    raw = {"first_loss": 4.0, "second_loss": 3.0}
    if metrics:
        arguments["metrics"] = {"z": ["mae"], "a": ["mse"]}
        arguments["weighted_metrics"] = {"a": ["mae"]}
        expected |= {"z_mae": 2.0, "a_mse": 9.0, "a_mae": 3.0}
    still(model, loss, eager=eager, **arguments)
    for logs in (
        evaluated(model, column(1, 1)),
        model.train_on_batch(column(1, 1), zeros(model, 2), return_dict=True),
    ):
        assert {name: logs[name] for name in expected} == approx(expected)
        rest = {k: v for k, v in logs.items() if k not in expected}
        if cls is Renames:
            assert rest == approx(raw)
        else:
            # Which names a list has that is not the model's is nobody's case.
            assert sorted(rest.values()) == approx(sorted(raw.values()))


class Splits(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y, y_pred = [
            {"mean": each[:, :1], "scale": each[:, 1:]} for each in (y, y_pred)
        ]
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


@WITH_METRICS
def test_split_for_the_losses(metrics, eager):
    inputs = keras.Input((1,))
    outputs = keras.layers.Concatenate(name="both")(
        [head("a", 2.0)(inputs), head("b", 3.0)(inputs)]
    )
    model = Splits(inputs, outputs)
    arguments = {"metrics": ["mae"]} if metrics else {}
    still(
        model,
        {"mean": "mse", "scale": "mae"},
        loss_weights={"mean": 1.0, "scale": 10.0},
        eager=eager,
        **arguments,
    )
    # 2^2, 3, and the mean of 2 and 3.
    expected = {"loss": 34.0, "mean_loss": 4.0, "scale_loss": 3.0}
    if metrics:
        expected["mae"] = 2.5
    x, y = column(1, 1), np.zeros((2, 2), "float32")
    assert evaluated(model, x, y) == approx(expected)
    assert model.train_on_batch(x, y, return_dict=True) == approx(expected)


class AddsAnOutput(keras.Model):
    """Regularizes by a loss between two outputs."""

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        both = y_pred["a"] - y_pred["z"]
        y_pred = {**y_pred, "both": both}
        y = {**y, "both": keras.ops.zeros_like(both)}
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


@WITH_METRICS
def test_added_for_the_losses(metrics, eager):
    model = functional({"z": 2.0, "a": 3.5}, dict, AddsAnOutput)
    arguments = {"metrics": {"z": ["mse"]}} if metrics else {}
    loss = {"z": "mae", "a": "mae", "both": "mae"}
    still(model, loss, eager=eager, **arguments)
    expected = {"loss": 7.0, "z_loss": 2.0, "a_loss": 3.5, "both_loss": 1.5}
    if metrics:
        expected["z_mse"] = 4.0
    assert evaluated(model, column(1, 1)) == approx(expected)


class ReadsMore(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y = dict(y)
        scale = keras.ops.mean(y.pop(EXTRA))
        return scale * super().compute_loss(x, y, y_pred, *args, **kwargs)


# Sorted, it comes before both outputs.
EXTRA = "0_scale"


@WITH_METRICS
def test_extra_label(metrics, eager):
    model = functional({"z": 2.0, "a": 3.0}, dict, ReadsMore)
    arguments = {}
    expected = {"loss": 10 * (2.0 + 3.0), "z_loss": 2.0, "a_loss": 3.0}
    if metrics:
        arguments["metrics"] = {"z": ["mse"], "a": ["mse"]}
        expected |= {"z_mse": 4.0, "a_mse": 9.0}
    still(model, {"z": "mae", "a": "mae"}, eager=eager, **arguments)
    x = column(1, 1)
    y = {**zeros(model, 2), EXTRA: column(5, 15)}
    assert evaluated(model, x, y) == approx(expected)
    assert model.train_on_batch(x, y, return_dict=True) == approx(expected)


# 3.1 Methods that are put into a model, instead of into its class.


@pytest.mark.parametrize("loss", ["mae", [None]])
@MODES
def test_compute_loss_of_an_object(loss, eager):
    model = still(functional({"a": 2.0}, None), loss, eager=eager)
    model.compute_loss = lambda x, y, y_pred, *_, **__: keras.ops.sum(y_pred)
    logs = evaluated(model, column(1, 3), column(0, 0))
    assert logs == approx({"loss": 2.0 + 6.0})


@MODES
def test_compute_metrics_of_an_object(eager):
    """It tells the metrics other labels than it is given."""
    model = still(functional({"a": 2.0}, None), metrics=["mae"], eager=eager)

    def compute_loss(x, y, y_pred, *args, **kwargs):
        return keras.ops.sum(y_pred - y["first"])

    def compute_metrics(x, y, y_pred, sample_weight=None):
        _, metrics = model.metrics
        metrics.update_state(y["second"], y_pred)
        return model.get_metrics_result()

    model.compute_loss = compute_loss
    model.compute_metrics = compute_metrics
    y = {"first": column(1, 1), "second": column(4, 4)}
    logs = evaluated(model, column(1, 3), y)
    assert logs == approx({"loss": 1.0 + 5.0, "mae": (2.0 + 2.0) / 2})


class HasALoss(keras.Model):
    """Its `loss` is its own, and `compile` is given none."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss = keras.losses.MeanSquaredError()

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        return self.loss(y, y_pred)


@MODES
def test_loss_of_an_object(eager):
    model = still(functional({"a": 2.0}, None, HasALoss), None, eager=eager)
    assert evaluated(model, column(1, 3)) == approx({"loss": (4 + 36) / 2})


def test_steps_do_not_read_a_loss_property():
    """Nobody knows what it takes to compute it."""
    reads = []

    class Reads(keras.Model):
        @property
        def loss(self):
            reads.append(self)

        @loss.setter
        def loss(self, value):
            pass

    model = still(functional({"a": 2.0}, cls=Reads))
    reads.clear()
    assert evaluated(model, column(1, 1), batch_size=1)["loss"] == 2.0
    assert reads == []


# 3.2 Labels of which metrics get the first, as many as there are outputs.


class TwoLabels(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        first, second = y.values() if isinstance(y, dict) else y
        return keras.ops.mean(second * (first - y_pred))


@pytest.mark.parametrize("kind", [tuple, list, dict])
@pytest.mark.parametrize("loss", [None, "mse"])
@MODES
def test_further_labels(kind, loss, eager):
    model = functional({"a": 2.0}, None, TwoLabels)
    still(model, loss, eager=eager, metrics=["mae"])
    y = [column(8, 8), column(3, 3)]
    # The order of dicts is that of their keys.
    y = dict(zip(("label", "margin"), y)) if kind is dict else kind(y)
    logs = evaluated(model, column(1, 3), y)
    assert logs == approx({"loss": 3 * (6 + 2) / 2, "mae": (6 + 2) / 2})


# 3.3 A metric that a model reaches in two ways is logged once.


def test_metric_of_the_model_and_of_compile():
    class HasAMetric(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.err = keras.metrics.MeanAbsoluteError(name="err")

    model = functional({"a": 2.0}, None, HasAMetric)
    still(model, "mse", metrics=[model.err])
    x, y = column(1, 3), column(0, 0)
    assert evaluated(model, x, y) == approx({"loss": 20.0, "err": 4.0})


class Watch(keras.layers.Layer):
    def __init__(self, metric):
        super().__init__()
        self.metric = metric

    def call(self, x):
        self.metric.update_state(x)
        return x


@not_jax
def test_metric_of_two_layers():
    metric = keras.metrics.Mean(name="seen")
    inputs = keras.Input((1,))
    outputs = Watch(metric)(head("a", 2.0)(Watch(metric)(inputs)))
    model = still(keras.Model(inputs, outputs), "mse")
    x, y = column(1, 3), column(0, 0)
    # 1, 3, 2 and 6.
    assert evaluated(model, x, y) == approx({"loss": 20.0, "seen": 3.0})


# 3.4 Steps that know nothing of the raw loss of a single loss entry.


def with_step(step, **arguments):
    """A model of two outputs, one of which has a loss."""
    model = functional({"a": 1.0, "b": 2.0})

    def test_step(data):
        x, y = data
        y_pred = model(x)
        loss = model.compute_loss(y=y, y_pred=y_pred)
        return step(model, y, y_pred, loss)

    model.test_step = test_step
    return still(model, ["mse", None], **arguments)


def average(model, y, y_pred, loss):
    """Logs the name of the total, which stands for its average."""
    model._loss_tracker.update_state(loss)
    return {"loss": loss}


def in_a_loop(model, y, y_pred, loss):
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss)
        else:
            metric.update_state(y, y_pred)
    return {metric.name: metric.result() for metric in model.metrics}


@not_jax
@pytest.mark.parametrize("step", [average, in_a_loop])
def test_step_and_a_single_loss_entry(step):
    model = with_step(step)
    x = column(1, 3, 5, 7)
    y = [column(0, 0, 0, 0), np.zeros((4, 2), "float32")]
    # (1 + 9 + 25 + 49) / 4
    found = model.evaluate(x, y, batch_size=2, verbose=0)
    assert found == approx(21.0)


@pytest.mark.parametrize("how", ["deepcopy", "copy", "config"])
def test_metrics_of_losses_are_copied(how):
    model = still(functional({"a": 1.0, "b": 2.0}))
    evaluated(model, column(1, 3))
    for metric in model.metrics:
        one = {
            "deepcopy": copy.deepcopy,
            "copy": copy.copy,
            "config": lambda x: type(x).from_config(x.get_config()),
        }[how](metric)
        assert (one.name, one.dtype) == (metric.name, "float32")
        one.reset_state()
        one.update_state(3.0)
        assert number(one.result()) == 3.0


def test_fit_that_is_patched(monkeypatch):
    bases = keras.Model.__mro__[1:]
    trainer = next(kind for kind in bases if "fit" in vars(kind))
    original, calls = trainer.fit, []

    def fit(self, *args, **kwargs):
        calls.append(kwargs)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(trainer, "fit", fit)
    model = still(functional({"a": 2.0}, None), "mse")
    logs = model.fit(column(1, 3), column(0, 0), verbose=0).history
    assert logs == {"loss": approx([20.0])}
    assert calls == [{"verbose": 0}]


# 3.5 Arguments of `compile` that nobody but a `compute_loss` reads.


class ReadsArguments(keras.Model):
    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        self.given = kwargs.get("loss"), kwargs.get("loss_weights")

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        loss, weights = self.given
        times = {"elbo": 2.0}.get(loss, 1.0) if isinstance(loss, str) else 3.0
        if isinstance(weights, dict):
            times *= weights["times"][1]
        return times * keras.ops.mean(keras.ops.abs(y - y_pred))


@pytest.mark.parametrize(
    "loss, weights, expected",
    [
        ("elbo", None, 2.0),
        ({"kind": 3.0}, None, 3.0),
        ({"kind": "elbo", "steps": [1, 2]}, None, 3.0),
        (3.0, None, 3.0),
        ("mae", {"times": (1.0, 5.0)}, 5.0),
        ("mae", {"times": [None, 5.0, "of"]}, 5.0),
    ],
    ids=str,
)
@MODES
def test_arguments_for_compute_loss_alone(loss, weights, expected, eager):
    model = functional({"a": 2.0}, None, ReadsArguments)
    still(model, loss, loss_weights=weights, eager=eager, metrics=["mae"])
    logs = evaluated(model, column(1, 3))
    assert logs == approx({"loss": expected * 4.0, "mae": 4.0})


def test_arguments_for_compute_loss_that_reach_the_base():
    """What is no loss is refused there, before any weight is touched."""

    class Asks(keras.Model):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs)

    model = functional({"a": 2.0}, None, Asks)
    model.compile("sgd", loss="elbo")
    with pytest.raises(ValueError, match="elbo"):
        model.fit(column(1), column(0), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], [[2.0]])


# 3.6 A loop outside of the replicas of its model.


@only_tensorflow
@pytest.mark.parametrize("inside", [False, True])
def test_compute_loss_between_replicas(inside):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = still(functional({"a": 2.0, "b": 3.0}))
    x, y = column(1, 3), [column(0, 0)] * 2
    model.evaluate(x, y, verbose=0)
    model.reset_metrics()
    with strategy.scope() if inside else contextlib.nullcontext():
        for _ in range(2):
            total = model.compute_loss(x, y, model(x))
    assert float(total) == approx(4.0 + 6.0)
    raw_losses = [float(one.result()) for one in model.metrics[1:]]
    assert raw_losses == approx([4.0, 6.0])


# 3.7 Loss weights that are learned.

# With kernels of ones, the outputs are the sums of these rows.
ROWS, NO_LABELS = np.array([[1.0, 2.0], [3.0, 4.0]]), [column(0, 0)] * 2
# Of the squares and of the absolute values of 3 and 7.
RAW_A, RAW_B = 29.0, 5.0


class LearnsItsWeight(keras.Model):
    """The loss weight of its first output is one of its own weights."""

    def __init__(self):
        super().__init__()
        self.heads = [head(name, 1.0) for name in "ab"]
        self.weight_of_a = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return [head(x) for head in self.heads]


@pytest.mark.parametrize("trained", [True, False])
@MODES
def test_a_weight_of_the_model_as_a_loss_weight(trained, eager):
    if BACKEND == "tensorflow" and trained and not eager:
        pytest.skip("a compiled step may read it when updated, on stock too")
    model = LearnsItsWeight()
    model.weight_of_a.trainable = trained
    model.compile(
        keras.optimizers.SGD(0.001),
        ["mse", "mae"],
        loss_weights=[model.weight_of_a, 2.0],
        run_eagerly=eager,
    )
    losses = [model.train_on_batch(ROWS, NO_LABELS)[0] for _ in range(2)]
    weight = 1.0 - 0.001 * RAW_A if trained else 1.0
    assert float(losses[0]) == approx(RAW_A + 2 * RAW_B)
    # The gradients of the two kernels were those of 29 and of 2 * 5.
    a = ROWS @ (1.0 - 0.001 * np.mean(2 * ROWS * [[3.0], [7.0]], axis=0))
    b = ROWS @ (1.0 - 0.002 * np.mean(ROWS, axis=0))
    assert float(losses[1]) == approx(weight * np.mean(a**2) + 2 * np.mean(b))
    if trained:
        weight -= 0.001 * np.mean(a**2)
    found = float(keras.ops.convert_to_numpy(model.weight_of_a.value))
    assert found == approx(weight)


@only_torch
@pytest.mark.parametrize("terms", [False, True])
def test_a_parameter_as_a_loss_weight(request, terms):
    import torch

    weight = torch.nn.Parameter(torch.tensor(1.0))
    model = functional({"a": 2.0, "b": 3.0})
    model.compile("sgd", ["mae", "mae"], loss_weights=[weight, 2.0])
    callbacks = [request.getfixturevalue("contributions")] if terms else []
    model.fit(column(1, 3), NO_LABELS, callbacks=callbacks, verbose=0)
    # The mean absolute error of 2 and 6.
    assert weight.grad.item() == approx(4.0)


@only_tensorflow
@MODES
def test_a_variable_of_tensorflow_as_a_loss_weight(eager):
    import tensorflow as tf

    weight = tf.Variable(1.0)

    class Learns(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x, y, y_pred)
            weight.assign_sub(0.125 * tape.gradient(loss, weight))
            return self.compute_metrics(x, y, y_pred)

    model = functional({"a": 2.0, "b": 3.0}, cls=Learns)
    model.compile(
        "sgd", ["mae"] * 2, loss_weights=[weight, 2.0], run_eagerly=eager
    )
    model.fit(column(1, 3), NO_LABELS, verbose=0)
    assert float(weight) == approx(1.0 - 0.125 * 4.0)


# 3.8 Losses without a reduction, which the user's own code reduces.

UNREDUCED = keras.losses.MeanSquaredError(reduction="none")
# Of 9 and 49.
MEAN, GRADIENT = 29.0, np.mean(2 * ROWS * [[3.0], [7.0]], axis=0)


class Reduces(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return keras.ops.mean(super().compute_loss(x, y, y_pred, sample_weight))


class ReducesCompileLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        values = self._compile_loss(y, y_pred, sample_weight)
        return keras.ops.sum(values) / len(ROWS)


class ReducesInItsStep(keras.Model):
    """Only the evaluation is asked for."""

    def train_step(self, *args):
        raise NotImplementedError


def on_rows(cls, outputs=1):
    inputs = keras.Input((2,))
    heads = [head(name, 1.0)(inputs) for name in "ab"[:outputs]]
    return cls(inputs, heads if outputs > 1 else heads[0])


@pytest.mark.parametrize("cls", [Reduces, ReducesCompileLoss])
@pytest.mark.parametrize("weights", [None, [1.0, 3.0]])
@MODES
def test_a_compute_loss_that_reduces(cls, weights, eager):
    model = on_rows(cls)
    model.compile(keras.optimizers.SGD(0.001), UNREDUCED, run_eagerly=eager)
    if weights is not None:
        weights = np.array(weights, "float32")
    history = model.fit(
        ROWS, column(0, 0), sample_weight=weights, verbose=0
    ).history
    if weights is None:
        expected, gradient = MEAN, GRADIENT
    else:
        expected = (9.0 + 3 * 49.0) / 2
        gradient = np.mean(2 * ROWS * [[3.0], [3 * 7.0]], axis=0)
    assert history == {"loss": [approx(expected)]}
    (kernel,) = model.get_weights()
    assert kernel[:, 0] == approx(1.0 - 0.001 * gradient)


@pytest.mark.parametrize("losses", [[UNREDUCED] * 2, [UNREDUCED, "mse"]])
def test_a_compute_loss_that_reduces_several_losses(losses):
    model = on_rows(Reduces, outputs=2)
    model.compile(keras.optimizers.SGD(0.001), losses, loss_weights=[1, 10])
    history = model.fit(ROWS, NO_LABELS, verbose=0).history
    expected = {"a_loss": MEAN, "b_loss": MEAN, "loss": 11 * MEAN}
    assert history == {name: [approx(x)] for name, x in expected.items()}
    for kernel, weight in zip(model.get_weights(), (1, 10)):
        assert kernel[:, 0] == approx(1.0 - 0.001 * weight * GRADIENT)


@pytest.mark.parametrize("cls", [keras.Model, ReducesInItsStep])
@MODES
def test_an_evaluation_without_a_reduction(cls, eager):
    """The metric of the total takes the mean."""
    model = on_rows(cls)
    model.compile("sgd", UNREDUCED, run_eagerly=eager)
    logs = evaluated(model, ROWS, column(0, 0), batch_size=2)
    assert logs == {"loss": approx(MEAN)}


@only_torch
def test_a_step_that_reduces():
    class Steps(keras.Model):
        def train_step(self, data):
            x, y, _ = data
            self.zero_grad()
            loss = keras.ops.mean(self.compute_loss(x, y, self(x)))
            loss.backward()
            weights = self.trainable_weights
            self.optimizer.apply([w.value.grad for w in weights], weights)
            return {"loss": loss}

    model = on_rows(Steps)
    model.compile(keras.optimizers.SGD(0.001), UNREDUCED)
    model.train_on_batch(ROWS, column(0, 0))
    assert model.get_weights()[0][:, 0] == approx(1.0 - 0.001 * GRADIENT)


@only_jax
def test_a_loop_that_reduces():
    import jax

    model = on_rows(keras.Model)
    model.compile("sgd", UNREDUCED)

    def loss_of(weights):
        y_pred, _ = model.stateless_call(weights, [], ROWS)
        loss, _ = model.stateless_compute_loss(
            weights, [], [], y=column(0, 0), y_pred=y_pred
        )
        return jax.numpy.mean(loss)

    weights = [variable.value for variable in model.trainable_variables]
    (gradient,) = jax.grad(loss_of)(weights)
    assert gradient[:, 0] == approx(GRADIENT)


# 3.9 A model that gives `super().compute_metrics` nothing.


@pytest.mark.parametrize(
    "metrics", [None, [], {}], ids=["none", "list", "dict"]
)
def test_compute_metrics_of_nothing(metrics):
    class Hides(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = head("a", 1.0)

        def call(self, x):
            return self.head(x)

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return super().compute_metrics(x, {}, {}, sample_weight={})

    model = Hides()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=metrics)
    history = model.fit(ROWS, column(0, 0), verbose=0).history
    assert history == {"loss": [approx(MEAN)]}


# 3.10 Steps like those of Keras, that give the loss other labels than the
# metrics, or weigh the total by something else than the size of the batch.


class HandsOn(keras.Model):
    """Trains nothing, so that all results can be worked out by hand."""

    def labels_of_loss(self, y):
        return y

    def weight_of_total(self, y):
        return keras.ops.shape(keras.tree.flatten(y)[0])[0]

    def record(self, data, y_pred, loss):
        x, y = data
        self._loss_tracker.update_state(
            loss, sample_weight=self.weight_of_total(y)
        )
        return self.compute_metrics(x, y, y_pred, None)

    def hand_on(self, data, training):
        x, y = data
        y_pred = self(x, training=training)
        loss = self._compute_loss(
            x=x, y=self.labels_of_loss(y), y_pred=y_pred, training=training
        )
        return self.record(data, y_pred, loss)

    def hand_on_state(self, state, data, training):
        x, y = data
        trainable, others, *optimizer, metrics_variables = state
        loss, (loss, y_pred, others, values) = self.compute_loss_and_updates(
            trainable,
            others,
            metrics_variables,
            x,
            self.labels_of_loss(y),
            None,
            training=training,
            optimizer_variables=optimizer[0] if training else None,
        )
        variables = self.metrics_variables
        with keras.StatelessScope(zip(variables, values)) as scope:
            logs = self.record(data, y_pred, loss)
        values = [scope.get_current_value(variable) for variable in variables]
        return logs, (trainable, others, *optimizer, values)

    if BACKEND == "jax":

        def train_step(self, state, data):
            return self.hand_on_state(state, data, True)

        def test_step(self, state, data):
            return self.hand_on_state(state, data, False)
    else:

        def train_step(self, data):
            return self.hand_on(data, True)

        def test_step(self, data):
            return self.hand_on(data, False)


def logs_of(model, method, *data):
    """The logs of batches of two samples."""
    if method == "evaluate":
        return evaluated(model, *data, batch_size=2)
    history = model.fit(*data, batch_size=2, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in history.items()}


both_methods = pytest.mark.parametrize("method", ["evaluate", "fit"])
both_modes = pytest.mark.parametrize("eager", [True, False])


@both_methods
@both_modes
def test_metrics_are_of_the_labels_that_they_get(method, eager):
    class Smooths(HandsOn):
        def labels_of_loss(self, y):
            return keras.ops.one_hot(y, 3) * 0.9 + 0.1 / 3

    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(
        3, use_bias=False, kernel_initializer="identity"
    )(inputs)
    model = Smooths(inputs, outputs)
    still(
        model,
        lambda y_true, y_pred: keras.ops.sum(y_pred, axis=-1),
        eager,
        metrics=["accuracy"],
    )
    x, y = np.eye(3, dtype="float32")[[0, 1, 2, 2]], np.array([0, 1, 2, 1])
    logs = logs_of(model, method, x, y)
    assert logs == approx({"loss": 1.0, "accuracy": 0.75})


@both_methods
@both_modes
def test_loss_gets_a_part_of_the_labels(method, eager):
    class First(HandsOn):
        def labels_of_loss(self, y):
            return [y[0], None]

    model = functional({"a": 2.0, "b": 3.0}, cls=First)
    still(model, ["mse", None], eager, metrics=[["mae"], ["mae"]])
    x = column(1, 2, 3, 4)
    logs = logs_of(model, method, x, [0 * x, 0 * x])
    # 4 and 3 times the means of 1, 4, 9, 16 and of 1, 2, 3, 4.
    expected = {"loss": 30.0, "a_mae": 5.0, "b_mae": 7.5}
    assert {name: logs[name] for name in expected} == approx(expected)


@both_methods
@both_modes
def test_weight_of_the_total_is_the_users(method, eager):
    class CountsLabels(HandsOn):
        def weight_of_total(self, y):
            return keras.ops.sum(keras.ops.cast(y > 0, "float32"))

    model = functional({"a": 1.0}, None, CountsLabels)
    still(model, "mae", eager)
    x, y = column(1, 3, 4, 6), column(0, 1, 1, 1)
    # Means of 1, 2 and of 3, 5, of one and of two labels.
    logs = logs_of(model, method, x, y)
    assert logs == approx({"loss": (1 * 1.5 + 2 * 4) / 3})


# 4. A `loss` of nothing but `None`.


class AddsLoss(keras.layers.Dense):
    def call(self, x):
        outputs = super().call(x)
        self.add_loss(3.0 * keras.ops.mean(outputs))
        return outputs


def with_other_loss(kind, count=2):
    """A model of `count` heads whose total is 3 for ones."""
    inputs = keras.Input((1,))
    arguments = {}
    if kind == "add_loss":
        arguments["cls"] = AddsLoss
    elif kind == "regularizer":
        arguments["kernel_regularizer"] = keras.regularizers.L1(3.0)
    outputs = [head("a", 1.0, **arguments)(inputs)]
    outputs += [head("b", 2.0)(inputs)] if count == 2 else []
    return keras.Model(inputs, outputs if count == 2 else outputs[0])


NONES = {
    "list": (2, [None, None]),
    "dict": (2, {"a": None, "b": None}),
    "one": (1, [None]),
}


def check_other_loss(form, kind, eager):
    count, loss = NONES[form]
    model = still(with_other_loss(kind, count), loss, eager=eager)
    x, y = column(1, 1), zeros(model, 2)
    assert evaluated(model, x, y) == approx({"loss": 3.0})
    assert model.fit(x, y, verbose=0).history == {"loss": approx([3.0])}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            "add_loss",
            marks=pytest.mark.skipif(
                BACKEND == "torch", reason="refused by stock: in part 10"
            ),
        ),
        "regularizer",
    ],
)
@pytest.mark.parametrize("form", ["list", "dict"])
@MODES
def test_no_loss_but_another(form, kind, eager):
    check_other_loss(form, kind, eager)


@pytest.mark.parametrize("form", NONES)
def test_no_loss_and_predict(form):
    count, loss = NONES[form]
    model = still(with_other_loss(None, count), loss)
    found = model.predict(column(1, 1), verbose=0)
    found = found if count == 2 else [found]
    for values, kernel in zip(found, (1.0, 2.0)):
        np.testing.assert_allclose(values, kernel * column(1, 1))


# 5. Without state, and without a compiler.


@pytest.mark.parametrize(
    "metrics",
    [None, ["mae"], [Fixed(1.0, "m"), "mse"]],
    ids=["none", "one", "two"],
)
def test_stateless_loss_before_metrics_are_built(metrics):
    arguments = {} if metrics is None else {"metrics": metrics}
    model = still(functional({"a": 44.0}, None), **arguments)
    values = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
        )
    ]
    x = keras.ops.ones((2, 1))
    y_pred, _ = model.stateless_call(*values[:2], x)
    loss, (_, _, state) = model.stateless_compute_loss(
        *values, x=x, y=0 * x, y_pred=y_pred
    )
    assert number(loss) == 44.0
    assert len(state) == len(model.metrics_variables)
    assert all(value is not None for value in state)
    # Nothing that was made inside is of use outside, nor in the way of it.
    logs = evaluated(model, column(1, 1))
    assert logs["loss"] == 44.0
    if metrics == ["mae"]:
        assert logs["mae"] == 44.0


@only_jax
@pytest.mark.parametrize("container", [list, dict])
def test_jit_disabled(container):
    import jax

    model = still(functional(KERNELS, container))
    y = zeros(model, 2)
    with jax.disable_jit():
        history = model.fit(X, y, batch_size=1, epochs=2, verbose=0).history
        logs = evaluated(model, X, y, batch_size=1)
    expected = {"loss": TOTAL, **RAW}
    assert history == {name: approx([v, v]) for name, v in expected.items()}
    assert logs == approx(expected)


@only_torch
@pytest.mark.parametrize("method,allowed", [("fit", 7), ("evaluate", 0)])
def test_graph_breaks(method, allowed, monkeypatch):
    import torch

    # What breaks a graph does not depend on what compiles its parts.
    monkeypatch.setattr(
        torch, "compile", functools.partial(torch.compile, backend="eager")
    )
    model = functional(KERNELS)
    model.compile(keras.optimizers.SGD(0.0), "mae", jit_compile=True)
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    try:
        getattr(model, method)(X, zeros(model, 2), batch_size=1, verbose=0)
        breaks = dict(counters["graph_break"])
        frames = counters["frames"]["ok"]
    finally:
        counters.clear()
        torch._dynamo.reset()
    assert frames > 0
    assert sum(breaks.values()) <= allowed, breaks


# 6. Names.


@MODES
def test_metric_called_as_a_raw_loss_of_one_output(eager):
    model = functional({"reconstruction": 2.0}, None)
    still(model, metrics=[Fixed(7.0, "reconstruction_loss")], eager=eager)
    expected = {"loss": 2.0, "reconstruction_loss": 7.0}
    assert evaluated(model, column(1, 1)) == expected
    assert model.evaluate(column(1), column(0), verbose=0) == [2.0, 7.0]


@pytest.mark.parametrize("container", [list, dict])
@pytest.mark.parametrize("name", ["metrics", "weighted_metrics"])
def test_metric_called_as_a_raw_loss_that_is_not_there(container, name):
    model = functional({"a": 2.0, "b": 3.0}, container)
    still(
        model,
        {"a": None, "b": "mae"} if container is dict else [None, "mae"],
        **{name: {"a": [Fixed(7.0, "loss")]}},
    )
    logs = evaluated(model, column(1, 1))
    assert {**logs, "b_loss": 3.0} == {
        "loss": 3.0,
        "a_loss": 7.0,
        "b_loss": 3.0,
    }


@pytest.mark.parametrize("whose", ["compile", "model", "layer"])
def test_metric_called_as_a_raw_loss_that_stock_does_not_log(whose):
    """With one loss entry, it is the raw loss that gives way."""
    own = Fixed(7.0, "loss" if whose == "compile" else "b_loss")
    model = functional(
        {"a": 2.0, "b": 3.0}, own={"a": own} if whose == "layer" else None
    )
    if whose == "model":
        model.own = own
    metrics = {"b": [own]} if whose == "compile" else None
    still(model, [None, "mae"], metrics=metrics)
    logs = evaluated(model, column(1, 1))
    assert logs["loss"] == 3.0
    assert logs["b_loss"] == 7.0
    # The list of stock repeats the total beside a metric of `compile`.
    for values in lists(model):
        assert list(dict.fromkeys(values)) == approx([3.0, 7.0])


def test_own_metric_that_holds_others_by_name():
    class Holds(Fixed):
        named_metrics = {"mae": None, "mse": None}

    model = functional({"a": 2.0, "b": 3.0})
    model.own = Holds(7.0, "held")
    logs = evaluated(still(model), column(1, 1))
    assert logs == {"loss": 5.0, "a_loss": 2.0, "b_loss": 3.0, "held": 7.0}
    assert model.metrics_names == ["loss", "a_loss", "b_loss", "held"]


def test_own_metric_called_as_an_output():
    model = functional({"a": 2.0, "b": 3.0})
    model.own = Fixed(7.0, "a")
    logs = evaluated(still(model), column(1, 1))
    assert logs == {"loss": 5.0, "a_loss": 2.0, "b_loss": 3.0, "a": 7.0}


# 7. The list that `evaluate`, `train_on_batch` and `test_on_batch` return.


def lists(model, x=None, y=None, **arguments):
    """What each method returns as a list for ones and zeros."""
    x = column(1, 1) if x is None else x
    y = zeros(model, len(x)) if y is None else y
    found = [model.evaluate(x, y, verbose=0, **arguments)]
    for method in (model.test_on_batch, model.train_on_batch):
        # Before Keras 3.15, those average over all batches since then.
        model.reset_metrics()
        found.append(method(x, y, **arguments))
    return found


PRICES = {"price": 2.0, "age": 3.0, "mid": 5.0}
PRICES_TOTAL = 10.0


@pytest.mark.parametrize(
    "order",
    [
        ("price", "mid", "age"),
        ("price", "age", "mid"),
        ("mid", "price", "age"),
        ("age", "mid", "price"),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("outputs", ["price,age,mid", "mid,age,price"])
def test_list_in_the_order_of_a_dict_of_losses(order, outputs):
    kernels = {name: PRICES[name] for name in outputs.split(",")}
    model = still(functional(kernels, dict), dict.fromkeys(order, "mae"))
    expected = [PRICES_TOTAL, *(PRICES[name] for name in order)]
    for found in lists(model):
        assert found == approx(expected)


@MODES
def test_list_in_the_order_of_a_dict_of_losses_by_mode(eager):
    model = functional(PRICES, dict)
    still(model, dict.fromkeys(("price", "mid", "age"), "mae"), eager=eager)
    for found in lists(model):
        assert found == approx([PRICES_TOTAL, 2.0, 5.0, 3.0])


def test_list_of_a_subclassed_model_in_the_order_of_a_dict_of_losses():
    model = WithSideOutput(lambda x: 7.0 * x)
    still(model, {"c": "mae", "a": "mae", "b": "mae"})
    ones = column(1, 1)
    for found in lists(model, y={"a": 0 * ones, "b": 0 * ones, "c": 0 * ones}):
        assert found == approx([10.0, 2.0, 7.0, 1.0])


@pytest.mark.parametrize("losses", ["one", "list", "dict"])
def test_list_in_the_order_of_outputs_in_a_list(losses):
    loss = {
        "one": "mae",
        "list": ["mae"] * 3,
        "dict": dict.fromkeys(("mid", "age", "price"), "mae"),
    }[losses]
    model = still(functional(PRICES), loss)
    for found in lists(model):
        assert found == approx([PRICES_TOTAL, 2.0, 3.0, 5.0])


def test_list_with_metrics_by_logged_name():
    model = still(
        functional(PRICES),
        # Not of labels, which are 0.
        metrics=[
            ["mae"],
            [Fixed(30.0, "mape"), "mae"],
            ["mae"],
        ],
    )
    # age_mae, age_mape, mid_mae, price_mae.
    expected = [PRICES_TOTAL, 2.0, 3.0, 5.0, 3.0, 30.0, 5.0, 2.0]
    for found in lists(model):
        assert found == approx(expected)


def test_list_with_weighted_metrics_by_logged_name():
    """Both lists of metrics are sorted as one."""
    model = still(
        functional(PRICES),
        metrics=[["mse"], ["mse"], None],
        weighted_metrics=[["mse", "mae"], None, ["mae"]],
    )
    # age_mse, mid_mae, price_mae, price_mse, price_weighted_mse.
    expected = [PRICES_TOTAL, 2.0, 3.0, 5.0, 9.0, 5.0, 2.0, 4.0, 4.0]
    for found in lists(model):
        assert found == approx(expected)


def test_list_of_one_output_keeps_the_order_of_metrics():
    model = still(
        functional({"a": 2.0}, None),
        metrics=["mse", Fixed(7.0, "z"), Fixed(8.0, "b")],
        weighted_metrics=[Fixed(9.0, "m"), "mae"],
    )
    model.own = Fixed(10.0, "a")
    expected = [2.0, 4.0, 7.0, 8.0, 9.0, 2.0, 10.0]
    for found in lists(model):
        assert found == approx(expected)


class Unnamed(keras.Model):
    """Two outputs in a list, without names."""

    def __init__(self):
        super().__init__()
        self.heads = [head("z", 2.0), head("a", 3.0)]

    def call(self, x):
        return [layer(x) for layer in self.heads]


def test_list_of_outputs_without_names():
    """Compiled metrics first, since they are logged under their own names."""
    model = still(
        Unnamed(),
        ["mse", "mae"],
        metrics=[[Fixed(7.0, "z")], [Fixed(8.0, "b")]],
        weighted_metrics=[None, [Fixed(9.0, "a")]],
    )
    ones = column(1, 1)
    for found in lists(model, y=[0 * ones, 0 * ones]):
        assert found == approx([7.0, 7.0, 8.0, 9.0, 4.0, 3.0])


@pytest.mark.parametrize(
    "loss,expected",
    [
        (["mae", None], 2.0),
        ([None, "mae"], 3.0),
        ({"a": "mae", "b": None}, 2.0),
    ],
    ids=["first", "second", "dict"],
)
def test_list_of_a_single_loss_entry_is_a_number(loss, expected):
    model = functional(
        {"a": 2.0, "b": 3.0}, dict if isinstance(loss, dict) else list
    )
    for found in lists(still(model, loss)):
        assert f"{found:.2f}" == f"{expected:.2f}"


def test_list_of_a_single_loss_entry_and_a_metric():
    model = functional({"a": 2.0, "b": 3.0})
    still(model, ["mse", None], metrics=[["mae"], None])
    for found in lists(model):
        loss, mae = found
        assert (loss, mae) == (4.0, 2.0)


@pytest.mark.parametrize("name", ["own", "zz"])
def test_list_with_a_metric_of_the_model(name):
    model = functional({"b": 2.0, "a": 3.0}, own={"a": Fixed(8.0, "aa")})
    model.own = Fixed(7.0, name)
    still(model, metrics=[["mse"], ["mse"]])
    # loss, raw losses, own metrics, a_mse, b_mse.
    for found in lists(model):
        assert found == approx([5.0, 2.0, 3.0, 7.0, 8.0, 9.0, 4.0])


# 7.1 The same for random models.

OUTPUTS = ("price", "age", "mid")
METRICS = ("mm", "aa", "zz")
# What kinds of models call their outputs, and what they put them into.
KINDS = ("one", "list", "dict", "subclassed_list", "subclassed_dict")
WITHOUT_NAMES = ("one", "subclassed_list")


@st.composite
def settings(draw):
    """What a model is made and compiled of, each number another one."""
    kind = draw(st.sampled_from(KINDS))
    count = 1 if kind == "one" else draw(st.integers(2, 3))
    names = draw(st.permutations(OUTPUTS))[:count]
    # No sum of a few is one of the others.
    numbers = iter(1.0 + 2.0**-power for power in range(1, 20))
    forms = {
        # With one for all, stock gives two raw losses the same name.
        "subclassed_list": ["list"],
        # Each backend has another order of the outputs.
        "subclassed_dict": ["dict"],
        "one": ["one", "list"],
    }.get(kind, ["one", "list", "dict"])
    setting = {
        "kind": kind,
        "kernels": {name: next(numbers) for name in names},
        "form": draw(st.sampled_from(forms)),
        "loss_order": draw(st.permutations(names)),
        "without_loss": draw(st.sets(st.sampled_from(names), max_size=2)),
        "own": [
            (name, next(numbers))
            for name in draw(
                st.lists(
                    st.sampled_from(["own", "a_first", "zzz"]),
                    unique=True,
                    max_size=2,
                )
            )
        ],
    }
    taken = set()
    for argument in ("metrics", "weighted_metrics"):
        chosen = {}
        for name in names:
            metrics = draw(
                st.lists(st.sampled_from(METRICS), unique=True, max_size=2)
            )
            if kind in WITHOUT_NAMES:
                # Stock repeats one of two that share a name: see part 10.
                metrics = [m for m in metrics if m not in taken]
                taken.update(metrics)
            chosen[name] = [(metric, next(numbers)) for metric in metrics]
        setting[argument] = chosen
    hypothesis.assume(with_losses(setting))
    return setting


def with_losses(setting):
    """The outputs with a loss, in the order in which they are recorded."""
    names = list(setting["kernels"])
    form = setting["form"]
    if setting["kind"] in ("dict", "subclassed_dict"):
        names = setting["loss_order"] if form == "dict" else sorted(names)
    if form == "one":
        return names
    return [name for name in names if name not in setting["without_loss"]]


def recorded(setting):
    """A plain model of the list: names and values, in the order of stock."""
    kernels, kind = setting["kernels"], setting["kind"]
    first, others = [], {}
    for argument in ("metrics", "weighted_metrics"):
        for name in kernels:
            for metric, value in setting[argument][name]:
                if kind in WITHOUT_NAMES:
                    first.append((metric, value))
                    continue
                logged = f"{name}_{metric}"
                if logged in others:
                    logged = f"{name}_weighted_{metric}"
                others[logged] = value
    prefix = "of_" if kind == "subclassed_list" else ""
    raw = [
        (f"{prefix}{name}_loss", kernels[name]) for name in with_losses(setting)
    ]
    return [
        ("loss", sum(value for _, value in raw)),
        *first,
        *(raw if len(raw) > 1 else []),
        *setting["own"],
        *sorted(others.items()),
    ]


class Several(keras.Model):
    """A subclassed model with heads of the given kernels."""

    def __init__(self, kernels, container):
        super().__init__()
        self.container = container
        self.heads = [head(name, kernel) for name, kernel in kernels.items()]

    def call(self, x):
        return self.container({layer.name: layer(x) for layer in self.heads})


def values_of(values):
    return list(values.values())


def made(setting):
    """The model of a setting, compiled, and labels for it."""
    kernels, kind = setting["kernels"], setting["kind"]
    pack = dict if kind in ("dict", "subclassed_dict") else values_of
    if kind.startswith("subclassed"):
        model = Several(kernels, pack)
    else:
        container = {"one": None, "list": list, "dict": dict}[kind]
        model = functional(kernels, container)
    for index, (name, value) in enumerate(setting["own"]):
        setattr(model, f"own_{index}", Fixed(value, name))
    losses = {
        name: None
        if name in setting["without_loss"]
        else keras.losses.MeanAbsoluteError(name=f"of_{name}")
        for name in kernels
    }
    if setting["form"] == "one":
        losses = "mae"
    elif setting["form"] == "dict":
        losses = {name: losses[name] for name in setting["loss_order"]}
    else:
        order = sorted(kernels) if kind == "dict" else kernels
        losses = [losses[name] for name in order]
    metrics = {
        argument: pack(
            {
                name: [Fixed(value, metric) for metric, value in chosen]
                for name, chosen in setting[argument].items()
            }
        )
        for argument in ("metrics", "weighted_metrics")
    }
    still(model, losses, **metrics)
    y = pack({name: column(0, 0) for name in kernels})
    return model, y[0] if kind == "one" else y


# Most of the time goes into the trainers.
@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 3)
@hypothesis.given(setting=settings())
def test_list_of_random_models(stock, setting):
    if stock and BACKEND == "tensorflow" and setting["kind"] == "dict":
        # In part 10.
        hypothesis.assume(setting["form"] == "dict")
    model, y = made(setting)
    names, values = zip(*recorded(setting))
    for found in lists(model, y=y):
        assert (found if len(values) > 1 else [found]) == approx(list(values))
    if not stock:
        assert model.metrics_names == list(names)


# 8. Names of the list.


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_names_asked_first(argument):
    """What such a program prints has a number for the metric, at least."""
    model = functional({"a": 44.0}, None)
    still(model, **{argument: [Fixed(7.0, "m")]})
    names = model.metrics_names
    found = dict(zip(names, model.evaluate(column(1), column(0), verbose=0)))
    # Better than the second would be the names, as `compile` tells them.
    assert found in (
        {"loss": 44.0, "m": 7.0},
        {"loss": 44.0, "compile_metrics": 7.0},
    )


def test_names_asked_first_without_metrics():
    model = still(functional({"a": 44.0}, None))
    assert model.metrics_names == ["loss"]


@pytest.mark.parametrize("container", [list, dict])
def test_names_of_raw_losses(container):
    model = still(functional({"b": 2.0, "a": 3.0}, container))
    logs = evaluated(model, column(1, 1))
    found = model.evaluate(column(1, 1), zeros(model, 2), verbose=0)
    assert dict(zip(model.metrics_names, found, strict=True)) == logs
    assert logs == {"loss": 5.0, "b_loss": 2.0, "a_loss": 3.0}
    assert model.metrics_names == [metric.name for metric in model.metrics]


def test_names_of_raw_losses_of_a_subclassed_model():
    """In whatever order of the outputs, the names go with the numbers."""
    model = still(Several({"b": 2.0, "a": 3.0}, dict))
    y = {"b": column(0, 0), "a": column(0, 0)}
    found = model.evaluate(column(1, 1), y, verbose=0)
    assert dict(zip(model.metrics_names, found, strict=True)) == {
        "loss": 5.0,
        "b_loss": 2.0,
        "a_loss": 3.0,
    }


class Counting(Fixed):
    """Counts how often it is asked."""

    def __init__(self, value, name):
        super().__init__(value, name)
        self.calls = 0

    def result(self):
        self.calls += 1
        return super().result()


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "own"])
def test_asking_for_names_computes_nothing(own):
    model = functional({"a": 2.0}, None)
    metric = Counting(7.0, "m")
    if own:
        model.own = metric
    still(model, metrics=None if own else [metric])
    model.metrics_names
    assert metric.calls == 0
    model.evaluate(column(1), column(0), verbose=0)
    calls = metric.calls
    model.metrics_names
    assert metric.calls == calls


@pytest.mark.parametrize("method", ["evaluate", "test_on_batch"])
def test_list_computes_nothing_again(method):
    model = functional({"a": 2.0, "b": 3.0})
    metric = Counting(7.0, "m")
    still(model, metrics={"a": [metric]})
    x, y = column(1, 1), zeros(model, 2)
    # From now on everything is built, which asks for results, too.
    model.evaluate(x, y, verbose=0)
    metric.calls = 0
    if method == "evaluate":
        model.evaluate(x, y, batch_size=2, verbose=0)
        # Once by the only step, and once at the end.
        assert metric.calls == 2
    else:
        model.test_on_batch(x, y)
        assert metric.calls == 1


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_names_before_the_first_update(argument):
    """F1Score has no result before it has seen how many classes there are."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, head("a", 1.0)(inputs))
    still(model, **{argument: [keras.metrics.F1Score(threshold=0.5)]})
    assert model.metrics_names[0] == "loss"
    x = column(1, 1, 0)
    # Predicted 1, 1, 0 where 1, 0, 0 is right: 2 * 1 / (2 * 1 + 1).
    loss, score = model.evaluate(x, column(1, 0, 0), verbose=0)
    assert loss == approx(1 / 3)
    np.testing.assert_allclose(score, [2 / 3], rtol=1e-5)


# 9. Private attributes that published packages read and assign.

ADAPTED_TOTAL = 49.0


def plain_tuple(entries):
    for index, weight in enumerate(ADAPTED_WEIGHTS):
        entries[index] = entries[index][:2] + (weight,) + entries[index][3:]


def plain_tuple_of_tensor(entries):
    # As softadapt's callback has it.
    weights = keras.ops.convert_to_tensor(ADAPTED_WEIGHTS)
    for index in range(len(entries)):
        entries[index] = (
            entries[index][:2] + (weights[index],) + entries[index][3:]
        )


def replaced_weight(entries):
    for index, weight in enumerate(ADAPTED_WEIGHTS):
        entries[index] = entries[index]._replace(loss_weights=weight)


def replaced_slice(entries):
    entries[:] = [
        entry[:2] + (weight,) + entry[3:]
        for entry, weight in zip(entries, ADAPTED_WEIGHTS, strict=True)
    ]


# Of a = 2 and b = 3, which make 49.
ADAPTED_WEIGHTS = (5.0, 13.0)
ADAPTED = {"a": 2.0, "b": 3.0}
COMPILED_WEIGHTS = {
    "no_weights": (list, None),
    "list": (list, [1.0, 10.0]),
    "names": (list, {"b": 10.0, "a": 1.0}),
    "dict": (dict, {"b": 10.0, "a": 1.0}),
}
EAGERLY = pytest.mark.parametrize(
    "eager",
    [
        pytest.param(
            False,
            marks=pytest.mark.skipif(
                BACKEND != "torch", reason="steps are traced once only"
            ),
            id="as_torch_does",
        ),
        pytest.param(True, id="eager"),
    ],
)


def check_adapted(model, change):
    """Changes the losses between steps; what is recorded stays raw."""
    x, y = column(1, 1), zeros(model, 2)
    model.train_on_batch(x, y)
    change(model)
    expected = {"loss": ADAPTED_TOTAL, "a_loss": 2.0, "b_loss": 3.0}
    model.reset_metrics()
    assert model.train_on_batch(x, y, return_dict=True) == approx(expected)
    assert evaluated(model, x, y) == approx(expected)
    history = model.fit(x, y, epochs=2, verbose=0).history
    assert history == {name: approx([v, v]) for name, v in expected.items()}


@pytest.mark.parametrize("weights", COMPILED_WEIGHTS)
@pytest.mark.parametrize(
    "replace",
    [plain_tuple, plain_tuple_of_tensor, replaced_weight, replaced_slice],
)
@EAGERLY
def test_items_with_other_weights(weights, replace, eager):
    container, loss_weights = COMPILED_WEIGHTS[weights]
    model = functional(ADAPTED, container)
    still(
        model,
        {"a": "mae", "b": "mae"},
        loss_weights=loss_weights,
        eager=eager,
    )
    check_adapted(
        model, lambda model: replace(model._compile_loss._flat_losses)
    )


@EAGERLY
def test_list_replaced_as_a_whole(eager):
    model = still(functional(ADAPTED), eager=eager)

    def change(model):
        compile_loss = model._compile_loss
        compile_loss._flat_losses = [
            type(compile_loss).Loss(*entry[:2], weight, entry[3])
            for entry, weight in zip(
                compile_loss._flat_losses, ADAPTED_WEIGHTS, strict=True
            )
        ]

    check_adapted(model, change)


@EAGERLY
def test_list_replaced_as_a_whole_by_plain_tuples(eager):
    model = still(functional(ADAPTED), eager=eager)

    def change(model):
        model._compile_loss._flat_losses = [
            (*entry[:2], weight, entry[3])
            for entry, weight in zip(
                model._compile_loss._flat_losses, ADAPTED_WEIGHTS, strict=True
            )
        ]

    check_adapted(model, change)


@pytest.mark.parametrize("form", ["_replace", "tuple"])
@EAGERLY
def test_items_with_another_loss(form, eager):
    model = functional(ADAPTED)
    still(model, ["mae", "mae"], loss_weights=[20.0, 1.0], eager=eager)
    x, y = column(1, 1), zeros(model, 2)
    model.train_on_batch(x, y)
    entries = model._compile_loss._flat_losses
    squared = keras.losses.MeanSquaredError()
    if form == "tuple":
        entries[1] = (entries[1][0], squared, *entries[1][2:])
    else:
        entries[1] = entries[1]._replace(loss=squared)
    # 20 * 2 and 3^2.
    expected = {"loss": ADAPTED_TOTAL, "a_loss": 2.0, "b_loss": 9.0}
    model.reset_metrics()
    assert model.train_on_batch(x, y, return_dict=True) == approx(expected)
    assert evaluated(model, x, y) == approx(expected)


@EAGERLY
def test_items_that_a_weight_trains(eager):
    """The gradient follows the replaced weight, too."""
    model = functional(ADAPTED)
    model.compile(keras.optimizers.SGD(0.0), "mae", run_eagerly=eager)
    x, y = column(1, 1), zeros(model, 2)
    model.train_on_batch(x, y)
    plain_tuple(model._compile_loss._flat_losses)
    model.optimizer.learning_rate = 0.125
    model.train_on_batch(x, y)
    # The gradient of the mean absolute error of ones is 1.
    found = [weights.item() for weights in model.get_weights()]
    assert found == approx([2.0 - 0.125 * 5.0, 3.0 - 0.125 * 13.0])


@EAGERLY
def test_weight_of_a_single_output(eager):
    model = still(functional({"a": 7.0}, None), eager=eager)
    model.train_on_batch(column(1), column(0))
    entries = model._compile_loss._flat_losses
    entries[0] = entries[0][:2] + (7.0,) + entries[0][3:]
    model.reset_metrics()
    found = model.train_on_batch(column(1), column(0))
    assert found == approx(ADAPTED_TOTAL)


@pytest.mark.parametrize(
    "moment", ["train_begin", "epoch_end", "train_batch_end"]
)
@EAGERLY
def test_items_replaced_by_a_callback(moment, eager):
    class Adapts(keras.callbacks.Callback):
        def adapt(self, *args, **kwargs):
            plain_tuple(self.model._compile_loss._flat_losses)

    setattr(Adapts, f"on_{moment}", Adapts.adapt)
    model = still(functional(ADAPTED), eager=eager)
    x, y = column(1, 1), zeros(model, 2)
    # Before anything is built, there is no list to change.
    model.evaluate(x, y, verbose=0)
    losses = model.fit(
        x, y, batch_size=1, epochs=2, callbacks=[Adapts()], verbose=0
    ).history["loss"]
    first = {
        "train_begin": 49.0,
        "epoch_end": 5.0,
        "train_batch_end": (5.0 + 49.0) / 2,
    }[moment]
    assert losses == approx([first, 49.0])


@pytest.mark.parametrize(
    "container,loss,expected",
    [
        (
            list,
            ["mse", "mae"],
            [
                ((0,), "mse", None, "a"),
                ((1,), "mae", None, "b"),
            ],
        ),
        (list, [None, "mae"], [((1,), "mae", None, "b")]),
        (
            dict,
            {"b": "mse", "a": "mae"},
            [
                (("b",), "mse", None, "b"),
                (("a",), "mae", None, "a"),
            ],
        ),
        (None, "mse", [((), "mse", None, "a")]),
    ],
    ids=["list", "partial", "dict", "one"],
)
def test_form_of_the_items(container, loss, expected):
    kernels = {"a": 2.0} if container is None else ADAPTED
    model = still(functional(kernels, container), loss)
    compile_loss = model._compile_loss
    assert compile_loss._flat_losses is None
    evaluated(model, column(1, 1))
    entries = compile_loss._flat_losses
    assert isinstance(entries, list)
    for entry, (path, name, weight, output) in zip(
        entries, expected, strict=True
    ):
        assert isinstance(entry, tuple)
        assert entry._fields == ("path", "loss", "loss_weights", "name")
        assert isinstance(entry.loss, keras.losses.Loss)
        assert entry.loss.name == name
        assert (entry.path, entry.loss_weights) == (path, weight)
        assert entry.name == output


def test_weights_in_the_items():
    variable = keras.Variable(3.0, trainable=False)
    model = functional(ADAPTED)
    still(model, ["mae", "mae"], loss_weights=[2.0, variable])
    evaluated(model, column(1, 1))
    first, second = model._compile_loss._flat_losses
    assert first.loss_weights == 2.0
    assert second.loss_weights is variable


GIVEN_METRICS = [
    (list, [["mae"], ["mse", "mae"]]),
    (list, {"a": "mae"}),
    (dict, {"b": ["mae"], "a": ["mse"]}),
    (None, ["mae", "mse"]),
]


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    "container,given", GIVEN_METRICS, ids=["list", "names", "dict", "one"]
)
def test_what_the_user_gave_as_metrics(container, given, built):
    kernels = {"a": 2.0} if container is None else ADAPTED
    for argument, other in [
        ("metrics", "weighted_metrics"),
        ("weighted_metrics", "metrics"),
    ]:
        model = still(functional(kernels, container), **{argument: given})
        if built:
            evaluated(model, column(1, 1))
        compile_metrics = model._compile_metrics
        assert getattr(compile_metrics, f"_user_{argument}") is given
        assert getattr(compile_metrics, f"_user_{other}") is None


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    "loss,weights",
    [
        (["mse", "mae"], [1, 2]),
        (["mse", "mae"], (1.5, 2)),
        ({"a": "mse", "b": "mae"}, {"a": 1, "b": 2}),
        ("mae", None),
    ],
    ids=["list", "tuple", "dict", "one"],
)
def test_what_the_user_gave_as_losses(loss, weights, built):
    model = functional(ADAPTED, dict if isinstance(loss, dict) else list)
    still(model, loss, loss_weights=weights)
    if built:
        evaluated(model, column(1, 1))
    compile_loss = model._compile_loss
    assert compile_loss._user_loss is loss
    assert compile_loss._user_loss_weights is weights
    assert repr(weights) == repr(compile_loss._user_loss_weights)


def test_metrics_by_output():
    model = still(
        functional({"a": 2.0, "b": 3.0}),
        metrics=[["mae", "mse"], None],
        weighted_metrics={"b": ["mse"]},
    )
    evaluated(model, column(1, 1))
    compile_metrics = model._compile_metrics
    names = [
        [each and [metric.name for metric in each.metrics] for each in flat]
        for flat in (
            compile_metrics._flat_metrics,
            compile_metrics._flat_weighted_metrics,
        )
    ]
    assert names == [[["mae", "mse"], None], [None, ["mse"]]]
    assert [metric.name for metric in compile_metrics.metrics] == [
        "mae",
        "mse",
        "mse",
    ]


# 10. Where stock is wrong as well.


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow traces without sizes"
)
@pytest.mark.parametrize("side", SIDE_OUTPUTS)
@pytest.mark.parametrize("labels", ["partial", "full"])
def test_size_beside_an_output_without_samples_in_graphs(side, labels):
    sized(side, labels, eager=False)


# Graphs of 1, 2 and 3 nodes, then one of 4: the mean of their sums of nodes is
# (1 + 2 + 3 + 4) / 4 for ones.
GRAPHS = [(1, 2, 3), (4,)]
GRAPH_MEAN = 2.5


class Graphs(keras.utils.PyDataset):
    """Batches whose inputs count nodes, and whose labels count graphs."""

    def __init__(self, with_weights):
        super().__init__()
        self.with_weights = with_weights

    def __len__(self):
        return len(GRAPHS)

    def __getitem__(self, index):
        sizes = GRAPHS[index]
        pool = np.zeros((len(sizes), sum(sizes)), "float32")
        ends = np.cumsum(sizes)
        for row, (end, size) in enumerate(zip(ends, sizes, strict=True)):
            pool[row, end - size : end] = 1.0
        x = {"nodes": column(*[1] * sum(sizes)), "pool": pool}
        # Stock's TensorFlow takes no lists from such a source.
        y = (column(*[0] * len(sizes)),) * 2
        weights = (np.ones((len(sizes),), "float32"),) * 2
        return (x, y, weights) if self.with_weights else (x, y)


class Pools(keras.Model):
    """The sums of the nodes of each graph, once and twice."""

    def __init__(self):
        super().__init__()
        self.heads = [head("a", 1.0), head("b", 2.0)]

    def call(self, inputs):
        pooled = keras.ops.matmul(inputs["pool"], inputs["nodes"])
        return [layer(pooled) for layer in self.heads]


@pytest.mark.parametrize("with_weights", [False, True])
@MODES
def test_nodes_and_graphs(with_weights, eager):
    model = Pools()
    losses = [
        keras.losses.MeanAbsoluteError(name="a"),
        keras.losses.MeanAbsoluteError(name="b"),
    ]
    still(model, losses, loss_weights=[1.0, 10.0], eager=eager)
    expected = {
        "loss": 21 * GRAPH_MEAN,
        "a_loss": GRAPH_MEAN,
        "b_loss": 2 * GRAPH_MEAN,
    }
    data = Graphs(with_weights)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert logs == approx(expected)
    history = model.fit(data, shuffle=False, verbose=0).history
    assert history == {name: approx([v]) for name, v in expected.items()}


@pytest.mark.parametrize("weights", [False, True])
def test_nodes_and_graphs_of_one_output(weights):
    class PoolsOnce(Pools):
        def call(self, inputs):
            return super().call(inputs)[0]

    class Once(Graphs):
        def __getitem__(self, index):
            x, y, *weights = super().__getitem__(index)
            return x, y[0], *(each[0] for each in weights)

    model = still(PoolsOnce())
    found = model.evaluate(Once(weights), verbose=0)
    assert found == approx(GRAPH_MEAN)


@pytest.mark.parametrize(
    "form,kind",
    [
        ("one", "add_loss"),
        ("one", "regularizer"),
        *(
            pytest.param(
                form,
                "add_loss",
                marks=pytest.mark.skipif(
                    BACKEND != "torch", reason="right on stock: in part 4"
                ),
            )
            for form in ("list", "dict")
        ),
    ],
)
@MODES
def test_no_loss_but_another_that_stock_refuses(form, kind, eager):
    check_other_loss(form, kind, eager)


@pytest.mark.parametrize("form", NONES)
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_no_loss_at_all(form, method):
    count, loss = NONES[form]
    model = still(with_other_loss(None, count), loss)
    arguments = {} if method == "train_on_batch" else {"verbose": 0}
    with pytest.raises(ValueError, match="No loss to compute"):
        getattr(model, method)(column(1, 1), zeros(model, 2), **arguments)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_no_loss_any_more(times, method):
    """On JAX, it would be trained on a loss of 0, and nobody be told."""
    model = still(functional({"a": 2.0}, None))
    for _ in range(times):
        model.compile("sgd")
    arguments = {} if method == "train_on_batch" else {"verbose": 0}
    with pytest.raises(ValueError, match="No loss to compute"):
        getattr(model, method)(column(1, 1), column(0, 0), **arguments)


def test_a_loss_again():
    model = still(functional({"a": 2.0}, None))
    model.compile("sgd")
    still(model, "mse")
    assert evaluated(model, column(1, 1)) == approx({"loss": 4.0})


def test_names_of_a_metric_with_two_results():
    model = still(functional({"a": 2.0}, None), metrics=["mae", Pair(7.0, "p")])
    expected = {"loss": 2.0, "mae": 2.0, "bb": -7.0, "zz": 7.0}
    for found in lists(model):
        assert dict(zip(model.metrics_names, found, strict=True)) == expected
        assert found == list(expected.values())
    assert model.metrics_names == list(expected)


def test_names_of_a_metric_with_two_results_before_a_step():
    """As long as there is no result, the metric's name stands."""
    model = still(functional({"a": 2.0}, None), metrics=["mae", Pair(7.0, "p")])
    assert model.metrics_names in (
        ["loss", "mae", "p"],
        ["loss", "compile_metrics"],
    )


@pytest.mark.parametrize("losses", ["one", "list"])
@pytest.mark.parametrize("outputs", ["price,age,mid", "age,mid,price"])
@MODES
def test_list_of_dict_outputs_has_one_order(losses, outputs, eager):
    """That of JAX and PyTorch, which is the order of the model's outputs."""
    kernels = {name: PRICES[name] for name in outputs.split(",")}
    model = functional(kernels, dict)
    still(model, "mae" if losses == "one" else ["mae"] * 3, eager=eager)
    assert model.output_names == ["age", "mid", "price"]
    for found in lists(model):
        assert found == approx([PRICES_TOTAL, 3.0, 5.0, 2.0])


@pytest.mark.parametrize("name", ["mae", "m"])
def test_list_has_each_number_once(name):
    model = functional({"a": 2.0}, None)
    still(
        model,
        metrics=[Fixed(7.0, name)],
        weighted_metrics=[Fixed(8.0, name)],
    )
    for found in lists(model):
        assert found == [2.0, 7.0, 8.0]
    assert model.metrics_names == ["loss", name, f"weighted_{name}"]


def test_list_has_each_number_of_one_list_once():
    model = functional({"a": 2.0}, None)
    still(model, metrics=[Fixed(7.0, "m"), Fixed(8.0, "m")])
    for found in lists(model):
        assert found == [2.0, 7.0, 8.0]
    assert model.metrics_names == ["loss", "m", "m_1"]


@pytest.mark.parametrize(
    "losses,expected",
    [
        (["mae", "mae"], [5.0, 2.0, 3.0, 7.0]),
        ([None, "mae"], [3.0, 7.0]),
    ],
    ids=["two", "one"],
)
def test_list_has_the_total_once(losses, expected):
    """A metric may be called `loss`, too."""
    model = functional({"b": 2.0, "a": 3.0})
    metrics = {"a" if losses[0] is None else "b": [Fixed(7.0, "loss")]}
    still(model, losses, metrics=metrics)
    for found in lists(model):
        assert found == expected
    names = model.metrics_names
    assert len(names) == len(set(names)) == len(expected)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_metric_called_as_a_raw_loss_that_is_there(argument):
    """Nothing is overwritten: it is the metric that gives way."""
    model = functional({"a": 2.0, "b": 3.0})
    still(model, **{argument: {"a": [Fixed(7.0, "loss")]}})
    logs = evaluated(model, column(1, 1))
    assert logs == {"loss": 5.0, "a_loss": 2.0, "b_loss": 3.0, "a_loss_1": 7.0}


def test_raw_loss_of_a_single_loss_entry():
    """The logs and the dict form have it, the list form has not."""
    model = functional({"a": 2.0, "b": 3.0})
    still(model, ["mse", None], loss_weights=[10.0, 1.0])
    assert evaluated(model, column(1, 1)) == {"loss": 40.0, "a_loss": 4.0}
    for found in lists(model):
        assert found == 40.0
    assert model.metrics_names == ["loss"]


# 11. Loss weights and contributions in the logs, which only the fork has.


@pytest.fixture
def contributions(stock):
    if stock:
        pytest.skip("stock has no LossContributions")
    return keras.callbacks.LossContributions()


class EvaluatesItself(keras.callbacks.Callback):
    """Looks at other data at the end of each epoch, as users' callbacks do."""

    def on_epoch_end(self, epoch, logs=None):
        x = column(100, 100)
        self.model.evaluate(x, zeros(self.model, 2), verbose=0)


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("validation", [False, True])
@MODES
def test_contributions_beside_an_evaluation(
    contributions, place, validation, eager
):
    model = functional({"a": 1.0, "b": 4.4})
    still(model, loss_weights=[1.0, 10.0], eager=eager)
    x, y = column(1, 1), zeros(model, 2)
    callbacks = [contributions]
    callbacks.insert(place, EvaluatesItself())
    validation_data = (column(2, 2), y) if validation else None
    history = model.fit(
        x,
        y,
        batch_size=1,
        epochs=2,
        callbacks=callbacks,
        validation_data=validation_data,
        verbose=0,
    ).history
    expected = {
        "a_contribution": 1.0,
        "b_contribution": 44.0,
        "a_weight": 1.0,
        "b_weight": 10.0,
    }
    if validation:
        expected |= {
            "val_a_contribution": 2.0,
            "val_b_contribution": 88.0,
            "val_a_weight": 1.0,
            "val_b_weight": 10.0,
        }
    for name, value in expected.items():
        assert history[name] == approx([value, value]), name


@pytest.mark.parametrize("name", ["contribution", "weight"])
def test_metric_called_as_a_contribution(contributions, name):
    model = functional({"a": 2.0, "b": 3.0})
    still(model, loss_weights=[10.0, 1.0], metrics={"a": [Fixed(7.0, name)]})
    x, y = column(1, 1), zeros(model, 2)
    history = model.fit(
        x,
        y,
        epochs=2,
        callbacks=[contributions],
        validation_data=(x, y),
        verbose=0,
    ).history
    assert history[f"a_{name}"] == [7.0, 7.0]
    assert history[f"val_a_{name}"] == [7.0, 7.0]


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
def test_nothing_is_recorded_for_nobody(contributions, place):
    """Without the callback, and after it, there is no more state."""
    model = still(functional({"a": 2.0, "b": 3.0}))
    x, y = column(1, 1), zeros(model, 2)
    model.fit(x, y, verbose=0)
    names = [metric.name for metric in model.metrics]
    variables = len(model.metrics_variables)
    assert names == ["loss", "a_loss", "b_loss"]
    assert variables == 6
    if place:
        model.fit(x, y, callbacks=[contributions], verbose=0)
        model.fit(x, y, verbose=0)
        assert [metric.name for metric in model.metrics] == names
        assert len(model.metrics_variables) == variables


# 12. Found by a program that no row has: stock is right here.


@not_jax
def test_weight_of_the_total_in_an_own_step():
    class Weighs(keras.Model):
        def test_step(self, data):
            x, y = data[:2]
            loss = self.compute_loss(x, y, self(x))
            total = next(m for m in self.metrics if m.name == "loss")
            total.update_state(loss, sample_weight=2.0)
            return {"loss": total.result()}

    model = functional({"a": 2.0, "b": 3.0}, list, Weighs)
    still(model, "mae", eager=True)
    x = column(1, 1, 4)
    # Batches of two and of one sample count alike: 5 and 20.
    found = evaluated(model, x, batch_size=2)
    assert found["loss"] == pytest.approx(12.5)
