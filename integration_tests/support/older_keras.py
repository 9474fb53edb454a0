"""Fetches the older Keras releases that requirements-older.txt pins.

They are unpacked below build/, never installed: a process uses one by having
its folder first in PYTHONPATH. Imports no Keras itself.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    # Last: nothing of the checkout shall hide a package of the same name.
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402

PINS = ROOT / "requirements-older.txt"


def pinned():
    """The sha256 of each pinned wheel, by version."""
    return dict(
        re.findall(
            r"^keras==(\S+)[\s\\]+--hash=sha256:([0-9a-f]{64})\s*$",
            PINS.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )


def unpacked(version):
    """A folder with the release unpacked, to put into PYTHONPATH.

    Args:
        version: One of those that `pinned` knows.

    Raises:
        pip_build.BuildError: If pip can't get the pinned wheel.
    """
    wanted = pinned()[version]
    folder = pip_build.BUILD / "older" / wanted[:16]
    if folder.is_dir():
        return folder
    with pip_build.scratch_folder() as scratch:
        requirement = scratch / "requirement.txt"
        requirement.write_text(f"keras=={version} --hash=sha256:{wanted}\n")
        pip_build.say(f"Fetching keras {version} ...")
        status, lines = pip_build.run_pip(
            sys.executable,
            "download",
            "--no-deps",
            "--only-binary=:all:",
            f"--dest={scratch}",
            f"--requirement={requirement}",
        )
        wheels = list(scratch.glob("*.whl"))
        if status or not wheels:
            raise pip_build.BuildError(
                f"pip cannot get keras=={version} with the hash in "
                f"{PINS.name} ({pip_build.last_word(lines)}): check the "
                "network and pip's index settings."
            )
        pip_build.unpack(wheels[0], scratch / folder.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        pip_build.move_folder(scratch / folder.name, folder)
    return folder
