import torch

from keras.src.utils.python_utils import pythonify_logs

original, fetched = torch.Tensor.__array__, {}


def fetch(tensor, *args, **kwargs):
    fetched[id(tensor)] = tensor
    return original(tensor, *args, **kwargs)


logs = {f"loss_{i}": torch.tensor(float(i)) for i in range(10)}
torch.Tensor.__array__ = fetch
pythonify_logs(logs)
print(f"transfers of 10 numbers: {len(fetched)}, right: 1")
