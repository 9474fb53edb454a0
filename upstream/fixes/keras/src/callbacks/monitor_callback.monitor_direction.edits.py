"""`mode="auto"` knows the values of single outputs."""


class MonitorCallback:
    # in _set_monitor_op, before cc5cbd725e67: it looked for what has the
    # monitored name on its own, without that of an output.
    def _(self, metric_name):
        # Of several outputs, each has `<output>_loss`, which goes down, and
        # its metrics are logged as `<output>_<metric>`.
        compile_loss = getattr(self.model, "_compile_loss", None)
        for m in getattr(compile_loss, "metrics", []):
            if m.name == metric_name:
                self.monitor_op = ops.less
        compile_metrics = getattr(self.model, "_compile_metrics", None)
        if getattr(compile_metrics, "built", False):
            for mls in (
                *compile_metrics._flat_metrics,
                *compile_metrics._flat_weighted_metrics,
            ):
                for m in getattr(mls, "metrics", []):
                    if metric_name == f"{mls.output_name}_{m.name}":
                        metric_name = m.name
