"""Edits to `trainer.py` of Keras 3.15.1; no whole module, see `patching`.

A loss weight that is a `keras.Variable` is handed to each compiled step, and
metrics honour the masks of predictions in training, too. The end of the data is
found out before a step, and arrays that don't divide among the devices are
refused.
"""
# Some names are those of the base, and some are for what follows there.
# ruff: noqa: F821, F841

import contextlib
import itertools

import jax

from keras.src import tree
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter


# or Trainer: its name on head.
class JAXTrainer:
    # in _maybe_symbolic_build (head), before 73a085825dd1: an epoch without
    # data had the logs of the one before.
    def _(self, iterator):
        if iterator is not None:
            iterator.trainer = self

    # in _maybe_symbolic_build (head), replaces f0d6990afcaa: it said neither
    # what came nor what was expected.
    def _(self, iterator):
        raise iterator._no_samples() from None

    # adds (3.15): an epoch without data had the logs of the one before.
    def _symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None:
            iterator.trainer = self
        super()._symbolic_build(iterator, data_batch)

    # replaces b0cc6073c398: with a step that failed, the variables were lost
    # that had been taken away for it.
    def _get_jax_state(
        self,
        trainable_variables=False,
        non_trainable_variables=False,
        optimizer_variables=False,
        metrics_variables=False,
        purge_model_variables=False,
    ):
        state = {}
        if trainable_variables:
            state["trainable_variables"] = self.trainable_variables
        if non_trainable_variables:
            state["non_trainable_variables"] = self.non_trainable_variables
        if optimizer_variables:
            state["optimizer_variables"] = self.optimizer.variables
        if metrics_variables:
            state["metrics_variables"] = self.metrics_variables
        for name, variables in state.items():
            state[name] = [variable.value for variable in variables]
        if purge_model_variables:
            # What `jax_state_sync` gives back, until there is what a step gave.
            self._jax_state = dict(state)
            self._purge_model_variables(**dict.fromkeys(state, True))
        return tuple(state.values())

    # adds (3.15): shared by training and evaluation.
    def _compile_step(self, step, is_part_of_state):
        """Compiles a step, unless it is to run eagerly.

        Args:
            step: Called with the state and a batch.
            is_part_of_state: For trainable, non-trainable, optimizer and
                metrics variables, whether they are in the state.
        """
        if self.run_eagerly or not self.jit_compile:
            return step
        shardings = None
        if distribution_lib.distribution() is not None:
            parts = zip(self._get_state_sharding_spec(), is_part_of_state)
            shardings = None, tuple(part for part, is_in in parts if is_in)
        return self._jit_with_weights(step, shardings)

    # adds: a compiled step kept the loss weights that it was traced with.
    def _jit_with_weights(self, step, shardings):
        """Compiles a step that is handed loss weights that are variables.

        Args:
            step: Called with the state and a batch, or several batches.
            shardings: How what it returns is laid out, or `None`.
        """
        # What belongs to the model is in the state already.
        own = {id(variable) for variable in self.variables}
        handed = getattr(self._compile_loss, "handed_weights", None)
        weights = [
            variable
            for variable in getattr(handed, "variables", ())
            if id(variable) not in own
        ]

        def step_with_weights(state, data, values):
            if not values:
                return step(state, data)
            with handed.handed(weights, values):
                return step(state, data)

        compiled = jit(
            step_with_weights, donate_argnums=0, out_shardings=shardings
        )

        def value_of(variable):
            value = handed.read(variable)
            # With its dtype, lest the first assignment is the first to have a
            # definite one and has the step traced again.
            value = variable.value if value is variable else value
            return jax.numpy.asarray(value, variable.dtype)

        def step_on_state(state, data):
            return compiled(state, data, list(map(value_of, weights)))

        return step_on_state

    # in _make_function (head), replaces 1a48122b8757: the same.
    def _(self, step_function, out_shardings):
        step_function = self._jit_with_weights(step_function, out_shardings)

    # in _make_function (head), replaces db8e0cc411d9: the same, for several
    # steps in one execution.
    def _(self, scan_fn, out_shardings):
        multi_step_fn = self._jit_with_weights(scan_fn, out_shardings)

    # replaces 80cf7f170ef6, 4bd32fa05e0c: a compiled step kept the loss weights
    # that it was traced with.
    # not on head: steps are compiled in `_make_function` there.
    def make_train_function(self, force=False):
        if self.train_function is None or force:
            step = self._compile_step(self.train_step, (True,) * 4)
            self.train_function = self._make_function(step)

    # replaces f496ed6c9767, fb4e4d98a7fa: the same.
    # not on head: the same.
    def make_test_function(self, force=False):
        if self.test_function is None or force:
            is_part_of_state = True, True, False, True
            step = self._compile_step(self.test_step, is_part_of_state)
            self.test_function = self._make_function(step)

    # in train_on_batch (head), replaces 993f696dffab: where an execution takes
    # several steps, each sample was one.
    def _(self, state, data):
        logs, state = self.train_function(state, map(self._one_step, data()))

    # in test_on_batch (head), replaces 6d32fd4e2374: the same.
    def _(self, state, data):
        logs, state = self.test_function(state, map(self._one_step, data()))

    # in predict_on_batch (head), replaces ae71d3635d81: the same.
    def _(self, state, data):
        batch_outputs, state = self.predict_function(
            state, map(self._one_step, data())
        )

    # adds (head): shared by the three.
    def _one_step(self, batch):
        """A batch as what a compiled function takes for the data of a step."""
        if self.steps_per_execution == 1:
            return batch
        return data_adapter_utils.PartialBatchList([batch])

    # replaces 67c7e33798cd: differentiation made new arrays of the predictions,
    # without their masks, and the metrics counted what is masked.
    def train_step(self, state, data):
        (
            trainable_variables,
            non_trainable_variables,
            optimizer_variables,
            metrics_variables,
        ) = state
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)

        def loss_of(trainable_variables):
            loss, results = self.compute_loss_and_updates(
                trainable_variables,
                non_trainable_variables,
                metrics_variables,
                x,
                y,
                sample_weight,
                training=True,
                optimizer_variables=optimizer_variables,
            )
            outputs = tree.flatten(results[1])
            masks = [get_keras_mask(output) for output in outputs]
            return loss, (results, masks)

        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (_, (results, masks)), gradients = differentiate(trainable_variables)
        unscaled_loss, y_pred, non_trainable_variables, metrics_variables = (
            results
        )
        for output, mask in zip(tree.flatten(y_pred), masks):
            if mask is not None:
                set_keras_mask(output, mask)
        trainable_variables, optimizer_variables = (
            self.optimizer.stateless_apply(
                optimizer_variables, gradients, trainable_variables
            )
        )
        logs, metrics_variables = self._update_metrics_variables(
            metrics_variables, unscaled_loss, x, y, y_pred, sample_weight
        )
        return logs, (
            trainable_variables,
            non_trainable_variables,
            optimizer_variables,
            metrics_variables,
        )


class JAXEpochIterator:
    # replaces bbaac0291856: that the data had ended was found out by a step,
    # after the variables had been taken away for it.
    def __next__(self):
        begin_step, end_step, iterator = next(self._epoch_iterator)
        first = list(itertools.islice(iterator, 1))
        if first:
            return begin_step, end_step, itertools.chain(first, iterator)
        with self.catch_stop_iteration():
            next(iterator)
        raise StopIteration

    # adds: `evaluate` gave nothing back after an error.
    @contextlib.contextmanager
    def catch_stop_iteration(self, batches=()):
        with contextlib.ExitStack() as after_error:
            if hasattr(self, "trainer"):
                after_error.callback(self.trainer.jax_state_sync)
            with super().catch_stop_iteration(batches):
                yield
            after_error.pop_all()

    # replaces cd78237e1618, b8276f7b6e2b, 7ccc8ac7fe03: arrays whose last batch
    # does not divide were refused after the steps before it, and with the
    # variables taken away.
    # not on head: batches are laid out as they come there.
    def _get_distributed_iterator(self, distribution):
        """Refuses at once what is known not to divide."""
        layouts = []

        def layout(x):
            if x is None:
                return None
            return distribution.get_data_layout(x.shape).backend_layout

        def distribute(batch):
            if not layouts:
                # Of the first batch, to save the time for the others.
                layouts.append(tree.map_structure(layout, batch))
            return _distribute_data(batch, layouts[0])

        self._require_even_shares(distribution)
        return map(distribute, self.data_adapter.get_jax_iterator())

    # in _get_iterator (head), before a9f1ae7feef7: the same.
    def _(self):
        if distribution_lib.distribution() is not None:
            self._require_even_shares(distribution_lib.distribution())

    # adds: the sizes of all batches of arrays are known.
    def _require_even_shares(self, distribution):
        adapter = self.data_adapter
        is_array = isinstance(adapter, ArrayDataAdapter)
        if not is_array or self.steps_per_epoch is not None:
            return
        sizes = [adapter.partial_batch_size or adapter.batch_size]
        if adapter.num_batches > 1:
            sizes.append(adapter.batch_size)
        mesh = distribution.device_mesh
        axis = mesh.axis_names.index(distribution.batch_dim_name)
        for size in sizes:
            jax_distribution_lib.require_even_shares(size, mesh.shape[axis])
