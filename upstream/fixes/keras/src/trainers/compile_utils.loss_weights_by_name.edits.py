"""A dict of loss weights goes by name."""


class CompileLoss:
    # in build, after 40436916697e: sorted by their names, weights went to the
    # losses in the order of the outputs.
    def _(self, loss, loss_weights, y_pred, flat_output_names):
        if isinstance(loss_weights, dict) and tree.is_nested(loss):
            # They go by name, not by the order of their sorted names.
            named = loss if isinstance(loss, dict) else y_pred
            names = flat_output_names
            if isinstance(named, dict):
                names = [path[0] for path, _ in tree.flatten_with_path(named)]
            # One loss may be that of several outputs as a whole.
            if named is loss or len(names or ()) == len(tree.flatten(loss)):
                unknown = set(loss_weights).difference(names)
                if unknown:
                    raise ValueError(
                        "`loss_weights` has keys that name no output: "
                        f"{unknown}. Expected some of {names}."
                    )
                if named is y_pred and len(set(names)) == len(names):
                    weights = [loss_weights.get(name) for name in names]
                    loss_weights = tree.pack_sequence_as(loss, weights)
