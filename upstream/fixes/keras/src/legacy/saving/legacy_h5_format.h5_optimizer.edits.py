"""The optimizer of a loaded `.h5` model knows the layers' variables."""


# in load_model_from_hdf5, replaces f07d03e699db: those of the layers are not
# among the model's own.
def _(model):
    model.optimizer.build(model.trainable_variables)
