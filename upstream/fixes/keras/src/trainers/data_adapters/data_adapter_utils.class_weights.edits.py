"""Labels of several positions are weighed by position."""


# in class_weight_to_sample_weights, replaces aefd438a6044: made below, in the
# shape of the classes.
def _():
    ...


# in class_weight_to_sample_weights, replaces 5c3e7ce33766: a class for each
# position was a TypeError about sizes of arrays.
def _(y_numpy, class_weight):
    sample_weight = np.ones(shape=y_numpy.shape, dtype=backend.floatx())
    for i in np.ndindex(y_numpy.shape):
        sample_weight[i] = class_weight.get(int(y_numpy[i]), 1.0)
