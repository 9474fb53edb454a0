from unittest import mock

from keras.src import backend
from keras.src import ops


class PythonUtilsTest:
    # adds: with PyTorch, there was a transfer for each number.
    def test_pythonify_logs(self):
        logs = {f"{i}": ops.convert_to_tensor(i + 0.5) for i in range(4)}
        logs["count"] = ops.convert_to_tensor(2**24 + 1, "int32")
        logs["text"] = "abc"
        logs["number"] = 3
        logs["nested"] = {"inner": ops.convert_to_tensor(7.0)}
        expected = {
            "0": 0.5,
            "1": 1.5,
            "2": 2.5,
            "3": 3.5,
            "count": 2.0**24 + 1,
            "text": "abc",
            "number": 3.0,
            "inner": 7.0,
        }
        self.assertEqual(python_utils.pythonify_logs(logs), expected)
        self.assertEqual(python_utils.pythonify_logs(None), {})

        if backend.backend() == "torch":
            import torch

            original, transfers = torch.Tensor.__array__, []

            def transfer(tensor, *args, **kwargs):
                transfers.append(tensor)
                return original(tensor, *args, **kwargs)

            with mock.patch.object(torch.Tensor, "__array__", transfer):
                python_utils.pythonify_logs(logs)
            # Of floats, of integers, and of what is nested.
            self.assertLen({id(tensor) for tensor in transfers}, 3)
