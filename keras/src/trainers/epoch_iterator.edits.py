"""Edits to `epoch_iterator.py` of Keras 3.15.1; no whole module, see
`edits.py`.

Data that holds no samples is refused instead of giving empty logs, and the
trainer is told of an epoch that data which has ended before left empty.
"""

import contextlib


class EpochIterator:
    # replaces a42e8ef4b2ac: no batches at all were an epoch without logs.
    def __iter__(self):
        if self._num_batches == 0:
            raise self._no_samples()
        self._epoch_iterator = self._note_executions()
        return self

    # adds: what data that ends at once means depends on what was before.
    def _note_executions(self):
        for execution in self._enumerate_iterator():
            self._is_first_execution = execution[0] == 0
            yield execution
            # Only where this one has had data, another one is asked for.
            self._has_had_data = True

    # replaces 8b12aa117bb2: `catch_stop_iteration` has to know what was got.
    def __next__(self):
        begin_step, end_step, iterator = next(self._epoch_iterator)
        batches = []
        with self.catch_stop_iteration(batches):
            while len(batches) < self.steps_per_execution:
                batches.append(next(iterator))
        if not batches:
            raise StopIteration
        return begin_step, end_step, batches

    # replaces 494549649577: data of unknown length may turn out to be empty.
    @contextlib.contextmanager
    def catch_stop_iteration(self, batches=()):
        """Ends the epoch where the data ends.

        Args:
            batches: What was got of this execution's batches. Its first one
                and nothing before it means that there is no data.
        """
        try:
            yield
        except StopIteration:
            is_empty = self._is_first_execution and not batches
            if self._num_batches is None:
                if is_empty and not getattr(self, "_has_had_data", False):
                    raise self._no_samples() from None
                self._num_batches = self._steps_seen
            if is_empty and hasattr(self, "trainer"):
                self.trainer._has_empty_epoch = True
            self._interrupted_warning()
            self._current_iterator = None
            self.data_adapter.on_epoch_end()

    # adds: how data without samples is refused.
    def _no_samples(self):
        return ValueError(
            "Invalid `x`. It holds no samples.\n"
            "Received: data that ends before the first batch.\n"
            "Expected at least one sample."
        )
