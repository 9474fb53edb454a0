"""`compile` forgets the losses and metrics of an earlier call."""


# or BaseTrainer: its name on head.
class Trainer:
    # in compile, before 7918de86af4d: what isn't passed this time stayed.
    def _(self):
        # What an earlier call has set is gone.
        if self._compile_loss is not None:
            self.loss = self._compile_loss = None
        self._compile_metrics = None
