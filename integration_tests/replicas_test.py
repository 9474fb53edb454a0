"""The books balance on several replicas as they do on one device.

A backend with several replicas needs processes of its own: they run the
workers in `replica_workers.py`, many cases in each, and print JSON. What they
should find comes from NumPy and one device, in `replica_cases.py`. There is
one test for each group of processes, since pytest-xdist would start them again
in each of its own.
"""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import keras
import pip_build
from integration_tests.support import checkout_finder
from integration_tests.support import replica_cases as cases
from integration_tests.support import replica_workers as workers

BACKEND = keras.backend.backend()
# A worker that waits for another one which has died waits for very long.
LIMIT_SECONDS = 600
# Six steps in float32, with sums of up to 40 terms in them.
RTOL = 2e-5


def only_on(backend):
    return pytest.mark.skipif(BACKEND != backend, reason=f"about {backend}")


def free_ports(count):
    """Ports that nobody listens at now, as strings."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_workers(commands, folder, stock, **variables):
    """Runs worker processes side by side; what each of them found.

    Args:
        commands: For each process, the arguments of `replica_workers.py`.
        folder: Where their output goes.
        stock: Whether they use the base release.
        **variables: Environment variables.
    """
    start = [sys.executable, checkout_finder.__file__]
    start += ["--stock"] if stock else []
    path = [str(checkout_finder.ROOT), os.environ.get("PYTHONPATH")]
    variables = {
        **os.environ,
        "KERAS_BACKEND": BACKEND,
        # The replicas are parts of a CPU, even where there is a GPU.
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        **variables,
    }
    logs = [folder / f"worker-{i}.log" for i in range(len(commands))]
    processes = []
    for command, log in zip(commands, logs):
        with log.open("wb") as output:
            processes.append(
                subprocess.Popen(
                    [*start, workers.__file__, *map(str, command)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
    statuses = wait(processes)
    printed = [log.read_text(errors="replace") for log in logs]
    if any(statuses):
        pytest.fail(
            "\n".join(
                f"--- {command}: status {status}\n{text[-6000:]}"
                for command, status, text in zip(commands, statuses, printed)
            ),
            pytrace=False,
        )
    return [
        json.loads(
            next(
                line
                for line in reversed(text.splitlines())
                if line.startswith("{")
            )
        )
        for text in printed
    ]


def wait(processes):
    """The statuses; stops all as soon as one has failed or time is up."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        statuses = [process.poll() for process in processes]
        if None not in statuses or any(statuses):
            break
        time.sleep(0.1)
    for process in processes:
        if process.poll() is None:
            process.kill()
    return [process.wait() for process in processes]


@pytest.fixture
def run(request, tmp_path):
    stock = request.config.getoption("--stock")

    def start(*commands, **variables):
        return run_workers(commands, tmp_path, stock, **variables)

    return start


def differences(found, expected, path=""):
    """Lines that name all numbers in which nested dicts and lists differ."""
    if isinstance(expected, dict):
        if set(found) != set(expected):
            return [f"{path}: {sorted(found)} != {sorted(expected)}"]
        pairs = [(found[k], expected[k], f"{path}/{k}") for k in expected]
    elif isinstance(expected, list):
        if len(found) != len(expected):
            return [f"{path}: {len(found)} != {len(expected)} entries"]
        pairs = [
            (f, e, f"{path}/{i}")
            for i, (f, e) in enumerate(zip(found, expected))
        ]
    elif np.allclose(found, expected, rtol=RTOL, atol=0):
        return []
    else:
        return [f"{path}: {found}, not {expected}"]
    return [line for pair in pairs for line in differences(*pair)]


# TensorFlow


@only_on("tensorflow")
def test_mirrored(run):
    shares = {
        2: [[4, 3], [4, 3], [1, 0]],
        3: [[3, 3, 1], [3, 3, 1], [1, 0, 0]],
    }
    expected = cases.expected(**workers.TENSORFLOW)
    expected["executions"] = logs_of_squares(**workers.TENSORFLOW)
    expected["terms"] = cases.terms(**workers.TENSORFLOW)
    found = run(*(["tensorflow_mirrored", replicas] for replicas in shares))
    # Uneven ones, and some without a sample.
    assert [one.pop("shares") for one in found] == list(shares.values())
    # 8 times 1/4 and 3/4, and 8 times 1/8, 3/8 and 4/8.
    assert [one.pop("scaled") for one in found] == [
        [["float16", value] for value in values]
        for values in ([2.0, 6.0], [1.0, 3.0, 4.0])
    ]
    assert differences(found, [expected] * 2) == []


def logs_of_squares(samples, batch_size):
    """The first epoch's logs where each loss is the mean of squares."""
    averages = cases.Averages()
    for x, y, _ in cases.batches(cases.data(samples), batch_size):
        logs = {"loss": 0.0}
        for name, head in cases.HEADS.items():
            mask = (x != 0) | (not head.masked)
            squares = (head.kernel * x.astype("float64") - y[name]) ** 2
            mask = np.broadcast_to(mask, squares.shape)
            logs[f"{name}_loss"] = np.average(squares, weights=mask)
            logs["loss"] += logs[f"{name}_loss"]
            if head.l2:
                logs["loss"] += cases.L2 * cases.UNITS * head.kernel**2
        averages.add(logs, len(x))
    return averages.seen[-1]


@only_on("tensorflow")
def test_multi_worker(run):
    ports = free_ports(2)
    found = run(*(["tensorflow_multi_worker", i, *ports] for i in range(2)))
    expected = cases.expected(**workers.TENSORFLOW)
    expected["terms"] = cases.terms(**workers.TENSORFLOW)
    assert differences(found, [expected] * 2) == []


# JAX


@only_on("jax")
def test_jax_devices(run):
    flags = "--xla_force_host_platform_device_count=4"
    (found,) = run(["jax_devices"], XLA_FLAGS=flags)
    expected = cases.expected(**workers.EVEN)
    by_data, by_model = found["data"], found["model"]
    assert found["devices"] == 4
    assert by_data.pop("shard") == [1, cases.UNITS]
    assert by_model.pop("shard") == [1, cases.UNITS // 2]
    assert differences(by_data, expected) == []
    assert differences(by_model, expected) == []
    check_errors_of_uneven_batches(found["errors"])


def check_errors_of_uneven_batches(errors):
    samples = {
        "train_on_batch": 10,
        "test_on_batch": 10,
        # The first batch, of 8, would divide.
        "fit": 2,
        "evaluate": 2,
        "predict": 2,
    }
    assert len(errors) == 2 * len(samples)
    for call, (said, is_unchanged) in errors.items():
        count = samples[call.split()[0]]
        assert "doesn't divide evenly" in said, call
        assert f"a batch of {count} samples" in said, call
        assert "a multiple of 4" in said, call
        assert is_unchanged, call


@only_on("jax")
def test_jax_processes(run):
    (port,) = free_ports(1)
    found = run(*(["jax_processes", i, port] for i in range(2)))
    for one in found:
        assert one.pop("shard") == [1, cases.UNITS]
    assert differences(found, [cases.expected(**workers.EVEN)] * 2) == []


# PyTorch


@only_on("torch")
@pytest.mark.skipif(
    pip_build.is_on_head(),
    reason="on head, ranks of PyTorch fail in `backward` without us, too",
)
def test_torch_ranks(run):
    (port,) = free_ports(1)
    found = run(*(["torch_ranks", i, port] for i in range(2)))
    # The logs of a rank are its own.
    arrays = cases.data(workers.EVEN["samples"])
    halves = cases.halves(**workers.EVEN)
    samples = {
        "even": [cases.rows(arrays, half) for half in halves],
        "uneven": cases.rank_rows(workers.UNEVEN_RANKS),
    }
    batch_size = workers.EVEN["batch_size"] // 2
    for kind, ranks in samples.items():
        expected = cases.expected_on_ranks(ranks, batch_size)
        for rank in range(2):
            own = {
                "history": [logs[rank] for logs in expected["history"]],
                "kernels": expected["kernels"],
            }
            logs = {key: found[rank][kind][key] for key in own}
            assert differences(logs, own, f"{kind}/{rank}") == []
    # The gathered ones are those of one process.
    expected = cases.expected(**workers.EVEN)
    for rank in range(2):
        for name in filter(is_mean_of_samples, cases.HEADS):
            check_gathered(found[rank]["even"], expected, name)


def is_mean_of_samples(name):
    """Whether the ranks' means have the global batch's mean as their mean.

    PyTorch averages gradients: those of sums become half as large, and a mean
    over what the ranks weigh or mask differently is another one.
    """
    head = cases.HEADS[name]
    is_mean = head.loss.split()[-1] in ("square", "absolute")
    return is_mean and not head.masked


def check_gathered(found, expected, name):
    key = f"{name}_loss"
    pairs = {
        "gathered": (
            [logs[key] for logs in found["gathered"]],
            expected["history"][key],
        ),
        "evaluated": (found["evaluated"][key], expected["evaluated"][key]),
        "kernels": (found["kernels"][name], expected["kernels"][name]),
    }
    for what, pair in pairs.items():
        assert differences(*pair, f"{what}/{name}") == []
