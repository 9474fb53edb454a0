"""Edits to `epoch_iterator.py` of Keras 3.15.1; no whole module, see
`edits.py`.

Data that holds no samples is refused instead of giving empty logs.
"""

import contextlib


class EpochIterator:
    # replaces a42e8ef4b2ac: no batches at all were an epoch without logs.
    def __iter__(self):
        if self._num_batches == 0:
            raise self._no_samples()
        self._epoch_iterator = self._enumerate_iterator()
        return self

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
            if self._num_batches is None:
                is_first = self._steps_seen <= self.steps_per_execution
                if is_first and not batches:
                    raise self._no_samples() from None
                self._num_batches = self._steps_seen
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
