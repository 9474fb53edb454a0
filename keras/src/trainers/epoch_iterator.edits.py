"""Edits to `epoch_iterator.py` of Keras 3.15.1; no whole module, see
`patching`.

Data that holds no samples is refused instead of giving empty logs, and the
trainer is told of an epoch that data which has ended before left empty.
"""


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

    # in catch_stop_iteration, replaces f3c46dd61ad1: data of unknown length may
    # turn out to be empty. `batches` is what was got of this execution's
    # batches: its first one and nothing before it means that there is no data.
    def _():
        def catch_stop_iteration(self, batches=()): ...

    # in catch_stop_iteration, before 0e5ccd4b98c1, f4a704c84fcf: the same.
    def _(self, batches):
        is_empty = self._is_first_execution and not batches
        had_data = getattr(self, "_has_had_data", False)
        if is_empty and not had_data and self._num_batches is None:
            raise self._no_samples() from None
        if is_empty and hasattr(self, "trainer"):
            self.trainer._has_empty_epoch = True

    # adds: how data without samples is refused.
    def _no_samples(self):
        return ValueError(
            "Invalid `x`. It holds no samples.\n"
            "Received: data that ends before the first batch.\n"
            "Expected at least one sample."
        )
