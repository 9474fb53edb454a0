"""Installs the packages that requirements-clients.txt pins.

They lie below build/, not in the environment, and a process uses them by having
their folder last in `sys.path`. Imports no Keras itself.
"""

import hashlib
import pathlib
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    # Last: nothing of the checkout shall hide a package of the same name.
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402

PINS = ROOT / "requirements-clients.txt"


def installed():
    """The folder of the packages, installed now if they are not yet.

    Raises:
        pip_build.BuildError: If pip can't get the pinned wheels.
    """
    # Some of the wheels are for one Python on one platform only.
    state = hashlib.sha256(PINS.read_bytes())
    state.update(sys.implementation.cache_tag.encode())
    state.update(sysconfig.get_platform().encode())
    folder = pip_build.BUILD / "clients" / state.hexdigest()[:16]
    if folder.is_dir():
        return folder
    with pip_build.scratch_folder() as scratch:
        pip_build.say(f"Installing {PINS.name} ...")
        status, lines = pip_build.run_pip(
            sys.executable,
            "install",
            "--no-deps",
            "--no-compile",
            "--only-binary=:all:",
            "--require-hashes",
            f"--target={scratch / folder.name}",
            f"--requirement={PINS}",
        )
        if status:
            raise pip_build.BuildError(
                f"pip cannot install {PINS.name} "
                f"({pip_build.last_word(lines)}): check the network and pip's "
                "index settings."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        pip_build.move_folder(scratch / folder.name, folder)
    return folder
