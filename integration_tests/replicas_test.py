"""The books balance on several replicas as they do on one device.

A backend with several replicas needs processes of its own: they run the
workers in `replica_workers.py`, many cases in each, and print JSON. What they
should find comes from NumPy and one device, in `replica_cases.py`.
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
from integration_tests import checkout_finder
from integration_tests import replica_cases as cases
from integration_tests import replica_workers as workers

BACKEND = keras.backend.backend()
# A worker that waits for another one which has died waits for very long.
LIMIT_SECONDS = 180
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


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    stock = request.config.getoption("--stock")

    def start(*commands, **variables):
        folder = tmp_path_factory.mktemp("workers")
        return run_workers(commands, folder, stock, **variables)

    return start


def assert_same(found, expected, path=""):
    """Compares nested dicts and lists; all that differs is named."""
    assert differences(found, expected, path) == []


def differences(found, expected, path=""):
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


def of_head(found, head):
    """What belongs to one head, or to all of them (`"loss"`)."""
    key = "loss" if head == "loss" else f"{head}_loss"
    picked = {
        "history": found["history"][key],
        "batches": [logs[key] for logs in found["batches"]],
        "evaluated": found["evaluated"][key],
    }
    if head in cases.HEADS:
        picked["kernels"] = found["kernels"][head]
    return picked


every_head = pytest.mark.parametrize("head", ["loss", *cases.HEADS])


# TensorFlow


@pytest.fixture(scope="module")
def mirrored(run):
    counts = (2, 3)
    return dict(zip(counts, run(*(["tensorflow_mirrored", n] for n in counts))))


@pytest.fixture(scope="module")
def multi_worker(run):
    ports = free_ports(2)
    return run(*(["tensorflow_multi_worker", i, *ports] for i in range(2)))


@only_on("tensorflow")
@pytest.mark.parametrize(
    ("replicas", "shares"),
    [
        (2, [[4, 3], [4, 3], [1, 0]]),
        (3, [[3, 3, 1], [3, 3, 1], [1, 0, 0]]),
    ],
)
def test_shares_are_uneven_and_one_is_empty(mirrored, replicas, shares):
    assert mirrored[replicas]["shares"] == shares


@only_on("tensorflow")
@pytest.mark.parametrize("replicas", [2, 3])
@every_head
def test_mirrored(mirrored, replicas, head):
    expected = cases.expected(**workers.TENSORFLOW)
    assert_same(of_head(mirrored[replicas], head), of_head(expected, head))


@only_on("tensorflow")
@pytest.mark.parametrize("replicas", [2, 3])
def test_several_steps_in_an_execution(mirrored, replicas):
    x, y, _ = cases.data(workers.TENSORFLOW["samples"])
    expected = {"loss": 0.0}
    for name, head in cases.HEADS.items():
        mask = (x != 0) | (not head.masked)
        squares = (head.kernel * x.astype("float64") - y[name]) ** 2
        # The mean of the values that the mask leaves, in each batch.
        total = 0.0
        for start in range(0, len(x), workers.TENSORFLOW["batch_size"]):
            batch = slice(start, start + workers.TENSORFLOW["batch_size"])
            weights = np.broadcast_to(mask[batch], squares[batch].shape)
            mean = np.average(squares[batch], weights=weights)
            total += len(x[batch]) * mean
        expected[f"{name}_loss"] = total / len(x)
        expected["loss"] += total / len(x)
        if head.l2:
            penalty = cases.L2 * cases.UNITS * head.kernel**2
            expected["loss"] += penalty
    assert_same(mirrored[replicas]["executions"], expected)


@only_on("tensorflow")
@every_head
def test_multi_worker(multi_worker, head):
    expected = of_head(cases.expected(**workers.TENSORFLOW), head)
    for found in multi_worker:
        assert_same(of_head(found, head), expected)


# JAX


@pytest.fixture(scope="module")
def jax_devices(run):
    flags = "--xla_force_host_platform_device_count=4"
    (found,) = run(["jax_devices"], XLA_FLAGS=flags)
    return found


@pytest.fixture(scope="module")
def jax_processes(run):
    (port,) = free_ports(1)
    return run(*(["jax_processes", i, port] for i in range(2)))


def expected_on_jax():
    return cases.expected(**workers.EVEN)


@only_on("jax")
def test_model_parallel_splits_kernels(jax_devices):
    assert jax_devices["devices"] == 4
    assert jax_devices["data"]["shard"] == [1, cases.UNITS]
    assert jax_devices["model"]["shard"] == [1, cases.UNITS // 2]


@only_on("jax")
@pytest.mark.parametrize("parallel", ["data", "model"])
@every_head
def test_jax_devices(jax_devices, parallel, head):
    expected = of_head(expected_on_jax(), head)
    assert_same(of_head(jax_devices[parallel], head), expected)


@only_on("jax")
@every_head
def test_jax_processes(jax_processes, head):
    expected = of_head(expected_on_jax(), head)
    for found in jax_processes:
        assert_same(of_head(found, head), expected)


@only_on("jax")
@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("method", "samples"),
    [
        ("train_on_batch", 10),
        ("test_on_batch", 10),
        # The first batch, of 8, would divide.
        ("fit", 2),
        ("evaluate", 2),
        ("predict", 2),
    ],
)
def test_batch_that_does_not_divide(jax_devices, method, samples, built):
    said, is_unchanged = jax_devices["errors"][f"{method} {built}"]
    assert "doesn't divide evenly" in said
    assert f"a batch of {samples} samples" in said
    assert "a multiple of 4" in said
    assert is_unchanged


# PyTorch


@pytest.fixture(scope="module")
def torch_ranks(run):
    (port,) = free_ports(1)
    return run(*(["torch_ranks", i, port] for i in range(2)))


def of_ranks(kind):
    """The samples of each rank."""
    if kind == "uneven":
        return cases.rank_rows(workers.UNEVEN_RANKS)
    arrays = cases.data(workers.EVEN["samples"])
    halves = cases.halves(**workers.EVEN)
    return [cases.rows(arrays, half) for half in halves]


@only_on("torch")
@pytest.mark.parametrize("kind", ["even", "uneven"])
@pytest.mark.parametrize("rank", [0, 1])
@every_head
def test_logs_of_a_rank_are_its_own(torch_ranks, kind, rank, head):
    batch_size = workers.EVEN["batch_size"] // 2
    expected = cases.expected_on_ranks(of_ranks(kind), batch_size)
    found = torch_ranks[rank][kind]
    key = "loss" if head == "loss" else f"{head}_loss"
    assert_same(
        [logs[key] for logs in found["history"]],
        [logs[rank][key] for logs in expected["history"]],
    )
    if head in cases.HEADS:
        assert_same(found["kernels"][head], expected["kernels"][head])


def is_mean_of_samples(head):
    """Whether the ranks' means have the global batch's mean as their mean.

    PyTorch averages gradients: those of sums become half as large, and a mean
    over what the ranks weigh or mask differently is another one.
    """
    is_mean = head.loss.split()[-1] in ("square", "absolute")
    return is_mean and not head.masked


@only_on("torch")
@pytest.mark.parametrize(
    "head", [name for name, h in cases.HEADS.items() if is_mean_of_samples(h)]
)
def test_gathered_logs_are_those_of_one_process(torch_ranks, head):
    expected = cases.expected(**workers.EVEN)
    key = f"{head}_loss"
    for found in torch_ranks:
        found = found["even"]
        gathered = [logs[key] for logs in found["gathered"]]
        assert_same(gathered, expected["history"][key])
        assert_same(found["evaluated"][key], expected["evaluated"][key])
        assert_same(found["kernels"][head], expected["kernels"][head])
