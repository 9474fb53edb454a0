"""Lists of arrays in a batch, with TensorFlow."""


# in get_tensor_spec, replaces ae9505e961b4: TensorFlow refuses lists.
def _(batches):
    # `tf.data` has no lists; see `list_to_tuple`.
    tensor_specs = tree.lists_to_tuples(get_keras_tensor_spec(batches))
