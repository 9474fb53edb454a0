"""Edits to `trainer.py` of Keras 3.15.1; no whole module, see `patching`.

With TensorFlow, a step must not run where there is no data for it, a model must
stand an error in its first batch, and a distributed model must be built from a
batch that its replicas share unevenly.
"""
# The shells hold names that only the base defines.
# ruff: noqa: F821

import itertools

import tensorflow as tf

from keras.src import tree
from keras.src.losses import replicas
from keras.src.trainers.data_adapters import data_adapter_utils


# or Trainer: its name on head.
class TensorFlowTrainer:
    def _make_function(self, step_function):
        # replaces fb7f37575adc: replicas counted alike, however many samples
        # of the batch each of them has; several workers had no logs at all,
        # since these have no axis to be reduced.
        @tf.autograph.experimental.do_not_convert
        def one_step_on_data(data):
            """Runs a step on each replica's share of a batch."""

            def step_on_share(share):
                with replicas.replica_share(share):
                    return step_function(share)

            strategy = self.distribute_strategy
            logs = strategy.run(step_on_share, args=(data,))
            if strategy.num_replicas_in_sync == 1:
                return reduce_per_replica(logs, strategy, reduction="auto")
            # A mean of the replicas' means would count them alike. Outside of
            # the replicas, a metric holds the sums of all of them.
            of_batch = self._get_metrics_result_or_logs(logs)
            if of_batch is not logs:
                return of_batch
            return tree.map_structure(
                lambda log: strategy.reduce("MEAN", log, axis=None), logs
            )

        # replaces 2d3c624f280c, f3b51f32a345: what a step does without reading
        # its data ran once more at the end of a dataset of unknown length.
        @tf.autograph.experimental.do_not_convert
        def multi_step_on_iterator(iterator):
            """Runs up to `steps_per_execution` steps, fewer if data ends.

            Returns the outputs of the only step or, of several, an optional of
            those of the last one, empty if no step was run.
            """
            limit = self.steps_per_execution
            if limit == 1:
                step = one_step_on_data
                if tf.inside_function() and not self.jit_compile:
                    # A call waits for its data. Operations that TensorFlow
                    # takes out of the called function wait for none.
                    step = tf.function(
                        step,
                        autograph=False,
                        experimental_attributes={"_noinline": True},
                    )
                return step(iterator.get_next())
            nothing = tf.experimental.Optional.empty(None)

            def goes_on(count, data, outputs):
                return tf.logical_and(count < limit, data.has_value())

            def run_step(count, data, outputs):
                def run():
                    result = tf.experimental.Optional.from_value(
                        one_step_on_data(data.get_value())
                    )
                    # Not known before the step is traced.
                    nothing._element_spec = result.element_spec
                    return result

                def skip():
                    outputs._element_spec = nothing._element_spec
                    return outputs

                return tf.cond(goes_on(count, data, outputs), run, skip)

            def run_unrolled(count, data, outputs):
                for _ in range(min(self.unrolled_steps_per_execution, limit)):
                    outputs = run_step(count, data, outputs)
                    count += 1
                    # What lies beyond the limit is left to the next call.
                    data = tf.cond(
                        count < limit,
                        iterator.get_next_as_optional,
                        lambda: data,
                    )
                return count, data, outputs

            start = tf.constant(0), iterator.get_next_as_optional(), nothing
            *_, outputs = tf.while_loop(goes_on, run_unrolled, start)
            outputs._element_spec = nothing.element_spec
            return outputs

        # replaces d7c849695cc5, 1cd64c5b2522: several steps in one execution
        # take branches, and TensorFlow can't run a step on several replicas in
        # a branch.
        def function(iterator):
            """Runs up to `steps_per_execution` steps; the last one's logs."""
            limit = self.steps_per_execution
            is_local = isinstance(iterator, tf.data.Iterator)
            is_shared = isinstance(iterator, tf.distribute.DistributedIterator)
            function.has_failed = getattr(function, "has_failed", True)
            logs = None
            if is_local or (is_shared and limit == 1):
                logs = multi_step_on_iterator(iterator)
                # With a limit of 1, an error says so where the data has ended.
                if limit > 1:
                    logs = logs.get_value() if logs.has_value() else None
            else:
                for data in itertools.islice(iterator, limit):
                    logs = one_step_on_data(data)
            if logs is None:
                raise StopIteration
            function.has_failed = False
            return logs

    # replaces a9703da4a49b: a function whose first call has failed may make no
    # variables in a later one, so that a model could not be trained any more
    # after an error in its first batch.
    def make_train_function(self, force=False):
        if force or self._is_to_be_made(self.train_function):
            self.train_function = self._make_function(self.train_step)

    # replaces ad5e9155b929: the same.
    def make_test_function(self, force=False):
        if force or self._is_to_be_made(self.test_function):
            self.test_function = self._make_function(self.test_step)

    # adds: shared by training and evaluation.
    def _is_to_be_made(self, function):
        """Whether there is no function, or one of ours that has only failed."""
        return function is None or getattr(function, "has_failed", False)

    # replaces 92a504f5eba9: it took the mean of the replicas' batches, which
    # may be of several sizes, to learn the shape of a batch.
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds a distributed model in the scope of its strategy.

        Any other model is built when its step is traced.
        """
        if data_batch is not None:
            data_adapter_utils.require_samples(data_batch[0])
        if iterator is not None:
            iterator.trainer = self
        strategy = self._distribute_strategy
        if strategy is None:
            return
        if iterator is not None:
            with iterator.catch_stop_iteration():
                _, _, batches = next(iter(iterator))
                data_batch = tree.map_structure(
                    lambda x: strategy.experimental_local_results(x)[0],
                    next(batches),
                )
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)
