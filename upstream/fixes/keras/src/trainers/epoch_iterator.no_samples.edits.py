"""Data without samples is refused."""


class EpochIterator:
    # in __init__, after 23aca0e16442: it ended in errors about something else,
    # or in empty logs.
    def _(self):
        self._has_had_data = False
        if self._num_batches == 0:
            raise self._no_data_error()

    # in catch_stop_iteration, after 183646f18b2b: an epoch has come to its
    # end.
    def _(self):
        self._has_had_data = True

    # in catch_stop_iteration, before c42ee011fd18: data of unknown size may
    # turn out to be empty.
    def _(self):
        # A generator that has been used up may well be empty.
        self._has_had_data |= self._steps_seen > 1
        if not self._has_had_data:
            raise self._no_data_error() from None

    # adds: the error of both.
    def _no_data_error(self):
        return ValueError(
            "The data has no samples. Expected at least one batch of data."
        )
