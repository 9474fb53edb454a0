"""A variable among the loss weights is read at each step."""


class JAXTrainer:
    # in make_train_function, replaces 115bae6dc780: a compiled step keeps what
    # it has read when it was traced.
    def _(self, step_fn, out_shardings):
        train_step = self._jit_step(step_fn, out_shardings)

    # in make_test_function, replaces 2cd62b6b7fb4: the same.
    def _(self, step_fn, out_shardings):
        test_step = self._jit_step(step_fn, out_shardings)

    # adds: shared by training and evaluation.
    def _jit_step(self, step_fn, out_shardings):
        """Compiles a step that reads variables among the loss weights anew.

        They are no part of the state. Unless they are handed to it, the step
        would keep what they held when it was traced.
        """
        weights = getattr(self._compile_loss, "_user_loss_weights", None)
        own = {id(variable) for variable in self.variables}
        weights = [
            weight
            for weight in tree.flatten(weights)
            if isinstance(weight, backend.Variable) and id(weight) not in own
        ]
        if not weights or is_nnx_enabled():
            return jit(step_fn, donate_argnums=0, out_shardings=out_shardings)

        def step_with_weights(state, data, values):
            outside = [weight._value for weight in weights]
            try:
                for weight, value in zip(weights, values):
                    weight._value = value
                return step_fn(state, data)
            finally:
                for weight, value in zip(weights, outside):
                    weight._value = value

        compiled = jit(
            step_with_weights, donate_argnums=0, out_shardings=out_shardings
        )

        def step(state, data):
            # With its dtype, or the first assignment would trace it again.
            values = [
                jax.numpy.asarray(weight.value, weight.dtype)
                for weight in weights
            ]
            return compiled(state, data, values)

        return step
