"""With PyTorch, numbers of the logs are fetched together."""


# in pythonify_logs, after f9b6cb82c329: each was fetched by itself, and waited
# for the device.
def _(logs, backend):
    if backend.backend() == "torch" and len(logs) > 3:
        from keras.src import ops

        # Each transfer waits for the device: fetch numbers of a type together.
        by_dtype = {}
        for key, value in logs.items():
            if ops.is_tensor(value) and value.ndim == 0:
                by_dtype.setdefault(value.dtype, []).append(key)
        for keys in by_dtype.values():
            numbers = ops.stack([logs[key] for key in keys])
            numbers = ops.convert_to_numpy(numbers)
            logs = {**logs, **dict(zip(keys, numbers))}
