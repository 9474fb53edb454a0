"""Sample weights and masks line up with values from the first axis on."""


# in reduce_weighted_values, before 4b2ec94d6a54: they lined up with the last.
def _(values, sample_weight):
    if 0 < len(sample_weight.shape) < len(values.shape):
        sample_weight = expand_from_left(sample_weight, values)


# in apply_mask, replaces ecce84ad4717: the same, and a tensor of the user's was
# changed in place.
def _(float_mask, sample_weight):
    if len(sample_weight.shape) < len(float_mask.shape):
        sample_weight = expand_from_left(sample_weight, float_mask)
    elif len(float_mask.shape) < len(sample_weight.shape):
        float_mask = expand_from_left(float_mask, sample_weight)
    # Not in place, it may be a tensor of the user's.
    sample_weight = sample_weight * float_mask


# adds: shared by both.
def expand_from_left(weights, values):
    """Repeats weights of the first axes, such as the samples, over the rest."""
    shape = tuple(weights.shape)
    for size, expected in zip(shape, values.shape):
        if size != expected and size not in (None, 1) and expected is not None:
            raise ValueError(
                f"Sample weights or a mask of shape {shape} don't match values "
                f"of shape {tuple(values.shape)} from the first axis on."
            )
    for _ in values.shape[len(shape) :]:
        weights = ops.expand_dims(weights, axis=-1)
    return ops.broadcast_to(weights, ops.shape(values))
