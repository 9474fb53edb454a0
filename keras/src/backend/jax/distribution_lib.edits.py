"""Edits to `distribution_lib.py` of Keras 3.15.1; no whole module, see
`patching`.

A batch that can't be split evenly among the devices is refused by an error
that says so.
"""

import jax


# replaces 24959c7831c9, 29a6b6999f0c: JAX's error named a sharding and an
# axis, no batch.
def distribute_data_input(per_process_batch, layout, batch_dim_name):
    # Avoid circular imports.
    from keras.src.distribution import TensorLayout

    if isinstance(layout, TensorLayout):
        layout = layout.backend_layout
    if isinstance(layout, jax.sharding.NamedSharding):
        shards = layout.mesh.shape.get(batch_dim_name, 1)
        require_even_shares(per_process_batch.shape[0], shards)
    return jax.make_array_from_process_local_data(layout, per_process_batch)


# adds: the error.
def require_even_shares(batch_size, shards):
    """Refuses a batch that this process can't split evenly.

    Args:
        batch_size: The number of samples that the process has.
        shards: The number of shards of the batch in all processes.

    Raises:
        ValueError: If there would be shards of several sizes.
    """
    shards_here = max(shards // jax.process_count(), 1)
    if batch_size % shards_here:
        raise ValueError(
            "A batch doesn't divide evenly among the shards of the data.\n"
            f"Received: a batch of {batch_size} samples, which may be the last "
            "one of an epoch.\n"
            f"Expected: a multiple of {shards_here}, the number of shards. "
            "Choose another `batch_size`, or leave out the samples of the "
            "last, smaller batch."
        )
