"""A clear error for labels that have several classes for each sample."""


# in class_weight_to_sample_weights, before 9cf137d82ebe: it was a TypeError
# about sizes of arrays.
def _(y_numpy):
    if y_numpy.size != y_numpy.shape[0]:
        raise ValueError(
            "`class_weight` needs one class for each sample. Received: labels "
            f"with classes of shape {y_numpy.shape}. To weigh each position by "
            "its class, pass `sample_weight` of that shape instead."
        )
    y_numpy = y_numpy.reshape(-1)
