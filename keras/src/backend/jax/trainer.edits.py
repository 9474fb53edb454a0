"""Edits to `trainer.py` of Keras 3.15.1; no whole module, see `edits.py`.

Data that holds no samples is refused instead of ending in `StopIteration`.
"""

import contextlib


class JAXTrainer:
    # adds: the first batch that is to show the shapes may not be there.
    def _symbolic_build(self, iterator=None, data_batch=None):
        refused = contextlib.nullcontext()
        if iterator is not None:
            refused = iterator.catch_stop_iteration()
        with refused:
            super()._symbolic_build(iterator, data_batch)
