#!/usr/bin/env python3
"""Builds the fork's wheel: upstream's wheel with our modules laid over it.

    python3 pip_build.py                      build dist/keras-*.whl
    python3 pip_build.py --install            ... and install it

Only the standard library and pip are needed. The last line on stdout is the
wheel's path; whatever goes wrong ends in one line on stderr and status 1.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "error: this is Python %d.%d, and 3.11 or newer is needed: run this "
        "with one." % sys.version_info[:2]
    )

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import zipfile

from patching import edits

ROOT = pathlib.Path(__file__).resolve().parent
BUILD = ROOT / "build"
DIST = ROOT / "dist"
PINS = ROOT / "requirements.txt"
LOCKED_BASE = ROOT / "requirements-base.txt"
OTHER_BASES = ROOT / "requirements-other-bases.txt"
# The base to build on, if not the locked one; what --base sets.
BASE_VARIABLE = "RAWLOSS_BASE"
LOCAL_VERSION = "rawloss.2"
BACKENDS = ("tensorflow", "jax", "torch")
SUMMARY = "Keras, changed: what is logged of each loss is what is trained on."

# What --base calls the newest of upstream's nightly builds among the bases.
HEAD = "head"
NIGHTLY = "keras-nightly"

# Written into every entry of the wheel, so that the same commit always gives
# the same bytes. The day of the base release.
EPOCH = 1777852800


class BuildError(Exception):
    """Something that the user can act on; its text is the line to show."""


def bases():
    """The base releases as `{version: sha256 of the wheel}`, default first."""
    found = {}
    for file in (LOCKED_BASE, OTHER_BASES):
        pins = re.findall(
            rf"^(?:keras|{NIGHTLY})==(\S+)[\s\\]+"
            r"--hash=sha256:([0-9a-f]{64})\s*$",
            file.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        if not pins:
            raise BuildError(
                f"{file} names no 'keras==VERSION --hash=sha256:HASH': "
                f"restore it with 'git checkout {file.name}'."
            )
        found.update(pins)
    return found


def locked_base():
    """The version and the sha256 of the base wheel."""
    known = bases()
    wanted = os.environ.get(BASE_VARIABLE) or next(iter(known))
    if wanted == HEAD:
        wanted = max(filter(is_nightly, known), default=HEAD)
    if wanted not in known:
        raise BuildError(f"{why_no_base(wanted, known)}.")
    return wanted, known[wanted]


def is_nightly(release):
    """Whether a version is that of a nightly build."""
    return ".dev" in release


def is_on_head():
    """Whether the base is newer than the releases."""
    return is_nightly(locked_base()[0])


def distribution():
    """The name under which the base is on the package index."""
    return NIGHTLY if is_on_head() else "keras"


def why_no_base(wanted, known):
    """Why the fork can't be laid over a release."""

    def minor(release):
        found = re.match(r"(\d+)\.(\d+)(\.|$)", release)
        return found and tuple(map(int, found.groups()[:2]))

    released = [one for one in known if not is_nightly(one)]
    minors = {minor(release): release for release in released}
    choice = f"give one of {', '.join(sorted(known))}"
    if minor(wanted) is None:
        return f"{wanted!r} is no release of Keras: {choice}"
    if is_nightly(wanted):
        return (
            f"{NIGHTLY} {wanted} is not known to this fork: see with '--base "
            f"{NIGHTLY}=={wanted}' what has to be done for it, or {choice}"
        )
    if minor(wanted) in minors:
        return (
            f"Keras {wanted} is not the newest patch of its minor release, "
            f"which alone is tested: give {minors[minor(wanted)]}"
        )
    if minor(wanted) < min(minors):
        return (
            f"Keras {wanted} is too old: nothing has been tested on it, and "
            f"it has other definitions where the edits replace some: {choice}"
        )
    return (
        f"Keras {wanted} is not known to this fork: {choice}, or compare the "
        f"edits with it and add its hash to {OTHER_BASES.name}"
    )


def version():
    """The version of the fork.

    It ends with digits of what it is made of: pip takes a wheel of a version
    that it has for the same wheel.
    """
    return f"{locked_base()[0]}+{LOCAL_VERSION}.{sources_hash()[:8]}"


def sources_hash():
    """The sha256 of all that makes our wheel another one than the base's."""
    state = hashlib.sha256()
    names = "pip_build.py", "patching/edits.py", "patching/statements.py"
    tools = [ROOT / name for name in names]
    for file in (*overlay().values(), *edit_files().values(), *tools):
        state.update(f"{file.relative_to(ROOT)} {sha256_of(file)}".encode())
    return state.hexdigest()


def commit():
    """The commit that the checkout is at, or `"unknown"`."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return "unknown"
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(
        [*command, "--dirty= with changes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip() or "unknown"


def wheel_path():
    """Where the built wheel lies; those of other bases have own folders."""
    base = locked_base()[0]
    folder = DIST if base == next(iter(bases())) else DIST / base
    return folder / f"keras-{version()}-py3-none-any.whl"


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def name_and_version(path):
    """The name and version in the metadata of a wheel."""
    wanted = f"give the wheel of {distribution()}=={locked_base()[0]}"
    try:
        with zipfile.ZipFile(path) as archive:
            (metadata,) = [
                archive.read(name).decode()
                for name in archive.namelist()
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
            ]
        return tuple(
            re.search(rf"^{field}: (.+)$", metadata, re.MULTILINE)[1].strip()
            for field in ("Name", "Version")
        )
    except OSError as error:
        raise BuildError(
            f"cannot read {path} ({error.strerror or error}): give a base "
            "wheel that can be read."
        ) from error
    except (zipfile.BadZipFile, ValueError, TypeError, EOFError) as error:
        raise BuildError(f"{path} is no wheel: {wanted}.") from error


def check_base_wheel(path):
    """Refuses a file that is not the locked base wheel."""
    wanted_version, wanted_hash = locked_base()
    name, found_version = name_and_version(path)
    if (name, found_version) != (distribution(), wanted_version):
        raise BuildError(
            f"{path} is {name} {found_version}, but this fork is laid over "
            f"{distribution()} {wanted_version}: give that release's wheel, or "
            "--base."
        )
    found_hash = sha256_of(path)
    if found_hash != wanted_hash:
        raise BuildError(
            f"{path} has sha256 {found_hash}, but keras {wanted_version} is "
            f"locked to {wanted_hash}: get the wheel again from a source you "
            "trust."
        )


def base_wheel(given=None):
    """The verified base wheel: the cached one, or fetched (or given) now."""
    base_version, base_hash = locked_base()
    cached = BUILD / "base" / base_hash[:16] / f"{stem()}-py3-none-any.whl"
    if given is not None:
        check_base_wheel(given)
    elif cached.is_file() and sha256_of(cached) == base_hash:
        return cached
    with scratch_folder() as folder:
        if given is not None:
            fetched = shutil.copyfile(given, folder / cached.name)
        else:
            fetched = download_base(folder)
        check_base_wheel(fetched)
        cached.parent.mkdir(parents=True, exist_ok=True)
        os.replace(fetched, cached)
    return cached


def stem():
    """How the names of the base wheel and of its metadata start."""
    return f"{distribution().replace('-', '_')}-{locked_base()[0]}"


def unpacked_base(given=None):
    """A folder with the base wheel unpacked, to put into `sys.path`."""
    wheel = base_wheel(given)
    folder = wheel.parent / "unpacked"
    if not folder.is_dir():
        with scratch_folder() as scratch:
            unpack(wheel, scratch / "unpacked")
            move_folder(scratch / "unpacked", folder)
    return folder


def move_folder(source, target):
    """Puts a folder into its place, all of it at once."""
    try:
        os.rename(source, target)
    except OSError:
        # Another process may have been faster.
        if not target.is_dir():
            raise


def download_base(folder):
    """Lets pip fetch the base wheel, its hash locked, into `folder`."""
    base_version, base_hash = locked_base()
    wanted = f"{distribution()}=={base_version}"
    requirement = folder / "base.txt"
    requirement.write_text(
        f"{wanted} --hash=sha256:{base_hash}\n", encoding="utf-8"
    )
    return download(wanted, folder, f"--requirement={requirement}")


def download(wanted, folder, *requirement):
    """Lets pip fetch the wheel of `NAME==VERSION` into `folder`."""
    say(f"Fetching {wanted.replace('==', ' ')} ...")
    status, lines = run_pip(
        sys.executable,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        f"--dest={folder}",
        *(requirement or [wanted]),
    )
    found_hash = re.search(r"Got\s+([0-9a-f]{64})", "\n".join(lines))
    if found_hash:
        raise BuildError(
            f"the package index gives {wanted.replace('==', ' ')} with sha256 "
            f"{found_hash[1]}, but it is locked to {locked_base()[1]}: check "
            "the index that pip is set up for."
        )
    wheels = list(folder.glob("*.whl"))
    if status or not wheels:
        raise BuildError(
            f"pip cannot get {wanted} ({last_word(lines)}): "
            "check the network and pip's index settings, or give the wheel "
            "with --base-wheel FILE."
        )
    return wheels[0]


def unpack(wheel, folder):
    """Unpacks a wheel, every file with the same mode on every machine."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def overlay():
    """Our modules, as `{path in the wheel: file in the checkout}`."""
    files = {}
    for file in sorted((ROOT / "keras").rglob("*.py")):
        if file.name.endswith(("_test.py", edits.SUFFIX)):
            continue
        if file.name == "__init__.py":
            raise BuildError(
                f"{file} would replace a whole package: lay single modules "
                "over the base, and remove this file."
            )
        files[file.relative_to(ROOT).as_posix()] = file
    return files


def edit_files():
    """Our edits, as `{path in the wheel: edit file in the checkout}`."""
    files = {}
    for file in sorted((ROOT / "keras").rglob(f"*{edits.SUFFIX}")):
        module = file.with_name(file.name.replace(edits.SUFFIX, ".py"))
        if module.exists():
            raise BuildError(
                f"{module} replaces the module that {file} edits: remove one."
            )
        files[module.relative_to(ROOT).as_posix()] = file
    return files


def edited(tree, path, file, on_head=None):
    """A module of the base in `tree`, edited.

    Returns its source and the names of the definitions that are not the
    base's.
    """
    name = file.relative_to(ROOT).as_posix()
    edit_source = file.read_text(encoding="utf-8")
    on_head = is_on_head() if on_head is None else on_head
    try:
        base = (tree / path).read_bytes().decode()
        kept, _ = edits.chosen(edits.read(edit_source, name), on_head)
        # Once, also if there are several for several bases.
        names = list(dict.fromkeys(edit.names[0] for edit in kept))
        return edits.apply(base, edit_source, name, on_head), names
    except FileNotFoundError as error:
        raise BuildError(f"{name}: the base has no {path}.") from error
    except edits.EditError as error:
        raise BuildError(str(error)) from error


def all_edited(tree, on_head=None):
    """What `edited` gives for each edited module, as `{path: result}`.

    Raises:
        BuildError: With a line for each edit that doesn't fit.
    """
    results, problems = {}, []
    for path, file in edit_files().items():
        try:
            results[path] = edited(tree, path, file, on_head)
        except BuildError as error:
            problems += str(error).splitlines()
    if problems:
        raise BuildError("\n".join(problems))
    return results


def edited_files():
    """The edited modules, as `{path in the wheel: file below build/}`.

    Files of their own, so that tracebacks show the right lines.
    """
    files = edit_files()
    state = hashlib.sha256(locked_base()[1].encode())
    tools = sorted((ROOT / "patching").glob("*.py"))
    for file in (*tools, *files.values()):
        state.update(f"{file.relative_to(ROOT)} {sha256_of(file)}".encode())
    folder = BUILD / "edited" / state.hexdigest()[:16]
    if not folder.is_dir():
        base = unpacked_base()
        with scratch_folder() as scratch:
            for path, (source, _) in all_edited(base).items():
                target = scratch / folder.name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.encode())
            folder.parent.mkdir(parents=True, exist_ok=True)
            move_folder(scratch / folder.name, folder)
    return {path: folder / path for path in files}


def lay_over(tree):
    """Makes the unpacked base wheel in `tree` ours.

    The one place that changes a file of upstream's package. Returns what it
    did, as lines for the NOTICE.
    """
    done = []
    for path, file in overlay().items():
        target = tree / path
        done.append(f"{'replaced' if target.exists() else 'added'}: {path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for path, (source, names) in all_edited(tree).items():
        (tree / path).write_bytes(source.encode())
        what = names or ["its imports"]
        done += [f"edited: {path} ({name})" for name in what]
    path = "keras/src/version.py"
    edit(
        tree / path,
        f'__version__ = "{locked_base()[0]}"',
        f'__version__ = "{version()}"',
    )
    done.append(f"edited: {path} (the version)")
    return done


def edit(file, old, new):
    """Replaces a text that occurs exactly once in `file`."""
    text = file.read_bytes().decode()
    if text.count(old) != 1:
        raise BuildError(
            f"{file.name} of the base has {old!r} {text.count(old)} times "
            "instead of once: adapt lay_over() in pip_build.py to the base."
        )
    file.write_bytes(text.replace(old, new).encode())


def relabel(tree, done):
    """Gives the wheel our version and the notice of what was changed."""
    base_version = locked_base()[0]
    info = tree / f"keras-{version()}.dist-info"
    (tree / f"{stem()}.dist-info").rename(info)
    if distribution() != "keras":
        # What depends on Keras finds it by its name.
        edit(
            info / "METADATA", f"\nName: {distribution()}\n", "\nName: keras\n"
        )
    edit(
        info / "METADATA",
        f"\nVersion: {base_version}\n",
        f"\nVersion: {version()}\n",
    )
    metadata = (info / "METADATA").read_bytes().decode()
    # Upstream's pages are not the place for questions about this wheel.
    metadata = re.sub(r"^Project-URL: .*\n", "", metadata, flags=re.MULTILINE)
    metadata = re.sub(
        r"^Summary: .*$", f"Summary: {SUMMARY}", metadata, flags=re.MULTILINE
    )
    (info / "METADATA").write_bytes(metadata.encode())
    licence = info / "licenses" / "LICENSE"
    if not licence.is_file():
        # Some releases came without the text of their licence.
        licence.parent.mkdir()
        shutil.copyfile(ROOT / "LICENSE", licence)
        line = f"\nVersion: {version()}\n"
        edit(info / "METADATA", line, f"{line}License-File: LICENSE\n")
    edit(
        info / "METADATA",
        "\nLicense-File: LICENSE\n",
        "\nLicense-File: LICENSE\nLicense-File: NOTICE\n",
    )
    notice = [
        f"This is Keras {version()}, a changed copy of Keras {base_version}.",
        "",
        "Keras is the work of its authors, under the Apache License 2.0; see",
        "LICENSE beside this file. This copy is not made or endorsed by them.",
        "Its losses are recorded before loss weights are applied.",
        "",
        f"It was made from the wheel {distribution()}=={base_version} with",
        f"the sha256 {locked_base()[1]}",
        f"and from our sources at the commit {commit()}.",
        "These files were changed, under the same licence; all others are as",
        "they were:",
        "",
        *done,
        "",
    ]
    (info / "licenses" / "NOTICE").write_bytes("\n".join(notice).encode())


def wheel_tool():
    """Environment variables with which `python -m wheel` works."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    if importlib.util.find_spec("wheel") is None:
        tools = BUILD / "tools"
        if not tools.is_dir():
            say("Fetching the wheel tool ...")
            with scratch_folder() as folder:
                status, lines = run_pip(
                    sys.executable,
                    "install",
                    f"--target={folder / 'tools'}",
                    f"--constraint={PINS}",
                    "wheel",
                )
                if status:
                    raise BuildError(
                        f"pip cannot get the wheel tool ({last_word(lines)}): "
                        "check the network and pip's index settings, or "
                        "install the package 'wheel' for this Python."
                    )
                os.rename(folder / "tools", tools)
        paths = [str(tools), os.environ.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def what_is_to_be_done(wanted, given=None):
    """What has to be looked at before the fork stands on a nightly build.

    Args:
        wanted: `keras-nightly==VERSION`.
        given: Its wheel, if pip is not to fetch it.

    Raises:
        BuildError: With a line for each edit that doesn't fit.
    """
    with scratch_folder() as folder:
        wheel = given or download(wanted, folder)
        found = "==".join(name_and_version(wheel))
        if found != wanted:
            raise BuildError(f"{wheel} is {found}: give the wheel of {wanted}.")
        unpack(wheel, folder / "tree")
        all_edited(folder / "tree", on_head=True)
        return (
            f"All edits fit {wanted}; put it into {OTHER_BASES.name}, with "
            f"--hash=sha256:{sha256_of(wheel)}, and run the tests."
        )


def build(given=None):
    """Builds the wheel into `dist/` and returns its path."""
    base = base_wheel(given)
    say(f"Laying {len(overlay())} modules over {base.name} ...")
    with scratch_folder() as folder:
        tree = folder / "tree"
        unpack(base, tree)
        relabel(tree, lay_over(tree))
        for path in tree.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        packed = subprocess.run(
            [sys.executable, "-m", "wheel", "pack", tree, "-d", folder],
            env=wheel_tool(),
            capture_output=True,
            text=True,
        )
        built = folder / wheel_path().name
        if packed.returncode or not built.is_file():
            raise BuildError(
                f"'wheel pack' failed ({last_word(packed.stderr.splitlines())})"
                f": remove {BUILD / 'tools'} and try again."
            )
        target = wheel_path()
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name that pip does not take for a wheel until all of it is there.
        part = target.parent / f"{built.name}.{os.getpid()}.part"
        try:
            shutil.copyfile(built, part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        for older in target.parent.glob("keras-*.whl"):
            if older != target:
                older.unlink()
    return target


def python_in(environment):
    """The interpreter of a virtual (or conda) environment."""
    if os.name == "nt":
        places = ("Scripts/python.exe", "python.exe")
    else:
        places = ("bin/python",)
    for place in places:
        if (environment / place).is_file():
            return str(environment / place)
    raise BuildError(
        f"{environment} holds no Python: activate another environment, or "
        "none to have .venv made."
    )


def target_python():
    """The interpreter to install for: the active environment's or .venv's."""
    if os.environ.get("VIRTUAL_ENV"):
        return python_in(pathlib.Path(os.environ["VIRTUAL_ENV"]))
    if sys.prefix != sys.base_prefix:
        return sys.executable
    if os.environ.get("CONDA_PREFIX"):
        return python_in(pathlib.Path(os.environ["CONDA_PREFIX"]))
    return own_python()


def own_python():
    """The interpreter of .venv, which is made if it is not there."""
    folder = ROOT / ".venv"
    # Made last by venv, so it tells a whole environment from a half-made one.
    with contextlib.suppress(BuildError):
        if run_pip(python_in(folder), "--version")[0] == 0:
            return python_in(folder)
    say(f"Making the environment {folder} ...")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", folder],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        lines = [*made.stdout.splitlines(), *made.stderr.splitlines()]
        raise BuildError(
            f"cannot make {folder} ({last_word(lines)}): make it writable, "
            "install Python's venv module, or activate an environment."
        )
    return python_in(folder)


def ask(python, code):
    """Runs `code` in another interpreter; what it prints, read as JSON."""
    answer = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True
    )
    if answer.returncode:
        raise BuildError(
            f"{python} does not work ({last_word(answer.stderr.splitlines())})"
            ": activate another environment, or none to have .venv made."
        )
    return json.loads(answer.stdout)


def installed_keras(python):
    """`(version, sha256 of its wheel)` of the Keras in an environment."""
    code = """if True:
        import importlib.metadata, json
        try:
            keras = importlib.metadata.distribution("keras")
            origin = json.loads(keras.read_text("direct_url.json") or "{}")
            sha = origin.get("archive_info", {}).get("hash", "")
            print(json.dumps([keras.version, sha.removeprefix("sha256=")]))
        except importlib.metadata.PackageNotFoundError:
            print("[null, null]")
        """
    return tuple(ask(python, code))


def check_writable(python):
    """Refuses an environment that pip could not write, or only half of it."""
    folders = ask(
        python,
        "import json, sysconfig as s; print(json.dumps(sorted({s.get_path(k) "
        "for k in ('purelib', 'platlib', 'scripts')})))",
    )
    for folder in map(pathlib.Path, folders):
        for place in (folder, folder / "keras"):
            if place == folder or place.is_dir():
                try:
                    tempfile.TemporaryFile(dir=place).close()
                except OSError as error:
                    raise BuildError(
                        f"cannot write to {place} ({error.strerror or error})"
                        ": activate an environment of your own, or none to "
                        "have .venv made."
                    ) from error


def install(wheel, python, requirements, pins=None):
    """Installs our wheel and pip `requirements`, pinned, for `python`.

    Without requirements, nothing but Keras is changed.
    """
    check_writable(python)
    say(f"Installing for {python} (minutes if a backend comes along) ...")
    # Whatever Keras is there: pip leaves one alone that has the same version.
    steps = [["--force-reinstall", "--no-deps", str(wheel)]]
    if requirements:
        steps.append(
            [f"--constraint={pins or PINS}", str(wheel), *requirements]
        )
    for step in steps:
        status, lines = run_pip(python, "install", *step)
        if status:
            raise BuildError(
                f"pip cannot install into that environment "
                f"({last_word(lines)}): check the network, pip's index "
                "settings and the free disk space, then run this again."
            )


def pins_of_others(python):
    """A file with our pins of packages that an environment has not."""
    there, kept = versions_in(python), []
    for line in PINS.read_text(encoding="utf-8").splitlines():
        name = line.partition("==")[0]
        if plain_name(name) not in there:
            kept.append(line)
    file = BUILD / "pins_of_others.txt"
    file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return file


def check_changes(wheel, python, backend, pins=None):
    """Refuses to install a backend where that would change what is there.

    A package that is there may be what others were made for: another version
    of NumPy, or a second TensorFlow under another name.
    """
    with scratch_folder() as folder:
        report = folder / "report.json"
        status, lines = run_pip(
            python,
            "install",
            "--dry-run",
            f"--report={report}",
            f"--constraint={pins or PINS}",
            str(wheel),
            backend,
        )
        if status:
            raise BuildError(
                f"pip cannot get {backend} ({last_word(lines)}): check the "
                "network and pip's index settings."
            )
        wanted = [
            (found["metadata"]["name"], found["metadata"]["version"])
            for found in json.loads(report.read_text())["install"]
        ]
    there = versions_in(python)
    changes = [
        f"{name} {there[plain_name(name)]} would become {wanted_version}"
        for name, wanted_version in wanted
        if plain_name(name) in there and plain_name(name) != "keras"
    ]
    changes += [
        f"{name} is there, which is {backend}, too"
        for name in providers_in(python, backend)
        if name != backend
    ]
    if changes:
        raise BuildError(
            f"--backend {backend} would change that environment: "
            f"{'; '.join(changes)}. Leave --backend out to change Keras alone, "
            "or activate another environment."
        )


def plain_name(name):
    """The name of a distribution in the form that all its spellings have."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions_in(python):
    """The version of each distribution in an environment."""
    code = """if True:
        import importlib.metadata as m, json
        print(json.dumps([(d.name, d.version) for d in m.distributions()]))
        """
    return {plain_name(name): version for name, version in ask(python, code)}


def providers_in(python, module):
    """The distributions that an importable module comes from."""
    code = f"""if True:
        import importlib.metadata, json
        found = importlib.metadata.packages_distributions()
        print(json.dumps(sorted(set(found.get({module!r}, [])))))
        """
    return ask(python, code)


def check_complete(python):
    """Refuses to be done where Keras lacks what it needs."""
    _, lines = run_pip(python, "check")
    lines = [line for line in lines if line.startswith("keras ")]
    missing = [re.sub(r"^keras \S+ requires (.+?),.*", r"\1", x) for x in lines]
    if missing:
        raise BuildError(
            f"Keras is installed, and lacks {', '.join(missing)}: add "
            "--backend NAME to get all that it needs."
        )


def run_pip(python, *arguments):
    """Runs pip quietly; its exit status and the lines that it printed."""
    command = [python, "-m", "pip", *arguments]
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PYTHONWARNINGS": "ignore",
    }
    lines = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if sys.stdout.isatty():
                print(f"\r\033[K  {line.strip()[:70]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    return process.returncode, lines


def last_word(lines):
    """The line in which a tool says what was wrong, most likely."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    # pip's pointers to its manual say nothing by themselves.
    errors = [line for line in errors if "://" not in line] or errors
    chosen = (errors or lines or ["it said nothing"])[-1]
    return chosen.removeprefix("ERROR:").strip().rstrip(".")


@contextlib.contextmanager
def scratch_folder():
    """A folder under build/ that is gone afterwards, whatever happens."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=BUILD, prefix="tmp-", ignore_cleanup_errors=True
    ) as folder:
        yield pathlib.Path(folder)


def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def one_line_errors():
    """Ends the program with one line on stderr where the user can act."""
    try:
        yield
    except BuildError as error:
        lines = str(error).splitlines()
        sys.exit("\n".join(f"error: {line}" for line in lines))
    except OSError as error:
        sys.exit(
            f"error: cannot write or read {error.filename} "
            f"({error.strerror or error}): make it writable, or work in a "
            "copy of the checkout that is."
        )
    except KeyboardInterrupt:
        sys.exit("error: interrupted: run the same command again.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--base",
        metavar="VERSION",
        help="another base release, or 'head'; an unknown one lists those that "
        f"there are, and '{NIGHTLY}==VERSION' what has to be done for it",
    )
    parser.add_argument(
        "--base-wheel",
        type=pathlib.Path,
        metavar="FILE",
        help="upstream's wheel, for a machine without a package index",
    )
    parser.add_argument(
        "--install",
        action="store_true",
        help="install it too, into the active environment or else .venv",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="what --install installs with it (default: Keras alone)",
    )
    arguments = parser.parse_args()
    if (arguments.base or "").startswith(f"{NIGHTLY}=="):
        with one_line_errors():
            say(what_is_to_be_done(arguments.base, arguments.base_wheel))
        return
    if arguments.base:
        os.environ[BASE_VARIABLE] = arguments.base
    with one_line_errors():
        wheel = build(arguments.base_wheel)
        if arguments.install:
            python, backend = target_python(), arguments.backend
            pins = pins_of_others(python)
            if backend:
                check_changes(wheel, python, backend, pins)
            install(wheel, python, [backend] if backend else [], pins)
            check_complete(python)
    say(str(wheel))


if __name__ == "__main__":
    main()
