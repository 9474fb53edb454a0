#!/usr/bin/env python3
"""The commands of the README.

    python3 run.py train [--backend NAME] [option of examples/digits.py ...]
    python3 run.py test [--backend NAME ...] [--base VERSION] [--stock]
        [-- option of pytest ...]

Both build the wheel and install it, with what they need, into the active
environment or else into .venv. The first time takes minutes; from then on only
what changed is installed again.
"""

import pip_build  # First, since it refuses a Python that is too old.

# isort: split
import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys


def prepare(purpose, requirements, base_wheel):
    """Builds and installs; the interpreter of the environment."""
    wheel = pip_build.build(base_wheel)
    python = pip_build.target_python()
    prefix = pip_build.ask(
        python, "import json, sys; print(json.dumps(sys.prefix))"
    )
    stamp = pathlib.Path(prefix) / "rawloss.json"
    stamps = json.loads(stamp.read_text()) if stamp.is_file() else {}
    state = [hashlib.sha256(pip_build.PINS.read_bytes()).hexdigest()]
    state += requirements
    wanted_keras = (pip_build.version(), pip_build.sha256_of(wheel))
    keras = pip_build.installed_keras(python)
    if stamps.get(purpose) == state and keras == wanted_keras:
        pip_build.say(f"{prefix} is up to date.")
    else:
        pip_build.install(wheel, python, requirements)
        stamp.write_text(json.dumps({**stamps, purpose: state}))
    return python


def train(arguments, rest):
    python = prepare(
        f"train {arguments.backend}",
        [arguments.backend, "scikit-learn", "matplotlib"],
        arguments.base_wheel,
    )
    pip_build.say(f"Training on {arguments.backend} ...")
    return subprocess.call(
        [python, str(pip_build.ROOT / "examples" / "digits.py"), *rest],
        env={
            **os.environ,
            "KERAS_BACKEND": arguments.backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )


def test(arguments, rest):
    if arguments.base:
        # Read by everything that is started from here.
        os.environ[pip_build.BASE_VARIABLE] = arguments.base
    python = prepare(
        "test", [f"--requirement={pip_build.PINS}"], arguments.base_wheel
    )
    command = [python, "-m", "integration_tests.support.matrix"]
    command += ["--backend", *arguments.backend]
    command += ["--stock"] if arguments.stock else []
    return subprocess.call([*command, "--", *rest], cwd=pip_build.ROOT)


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--base-wheel",
        type=pathlib.Path,
        metavar="FILE",
        help="upstream's wheel, for a machine without a package index",
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", allow_abbrev=False)
    command.set_defaults(function=train)
    command.add_argument(
        "--backend", choices=pip_build.BACKENDS, default="tensorflow"
    )
    command = commands.add_parser("test", allow_abbrev=False)
    command.set_defaults(function=test)
    command.add_argument(
        "--backend",
        choices=pip_build.BACKENDS,
        default=pip_build.BACKENDS,
        nargs="+",
    )
    command.add_argument(
        "--base", metavar="VERSION", help="another base release, or 'head'"
    )
    command.add_argument(
        "--stock", action="store_true", help="test Keras without the fork"
    )
    own, rest = arguments, []
    if "--" in arguments:
        split = arguments.index("--")
        own, rest = arguments[:split], arguments[split + 1 :]
    parsed, unknown = parser.parse_known_args(own)
    if unknown and parsed.function is test:
        parser.error(f"unknown: {' '.join(unknown)}; pytest's go after --")
    return parsed, [*unknown, *rest]


def main():
    arguments, rest = parse(sys.argv[1:])
    with pip_build.one_line_errors():
        sys.exit(arguments.function(arguments, rest))


if __name__ == "__main__":
    main()
