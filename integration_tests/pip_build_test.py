"""The wheel, and what pip_build.py does when something is not as it should be.

Runs pip_build.py in a copy of the checkout, without a package index.
"""

import base64
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import pip_build
from patching import edits

INFO = f"keras-{pip_build.version()}.dist-info"
BASE_INFO = f"keras-{pip_build.locked_base()[0]}.dist-info"


def copy_checkout(folder):
    """A copy of what the wheel is made of, without anything built."""
    (folder / "patching").mkdir(parents=True)
    for name in (
        "pip_build.py",
        "patching/__init__.py",
        "patching/edits.py",
        "patching/statements.py",
        "requirements.txt",
        "requirements-base.txt",
        "requirements-other-bases.txt",
        "LICENSE",
    ):
        shutil.copy(pip_build.ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(pip_build.ROOT / "keras", folder / "keras", ignore=ignored)
    (folder / "keras/src/trainers/an_extra_test.py").touch()
    tools = pip_build.BUILD / "tools"
    if tools.is_dir():
        shutil.copytree(tools, folder / "build" / "tools")
    return folder


def run_build(checkout, *arguments, **variables):
    """Runs pip_build.py with no package index in reach."""
    environment = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "pip_build.py", *map(str, arguments)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )


def assert_refused(checkout, result, *words):
    """One line that has all `words`, and nothing left behind."""
    assert result.returncode == 1, result
    (line,) = result.stderr.splitlines()
    for word in words:
        assert str(word) in line
    assert not list(checkout.glob("dist/*"))
    assert not list(checkout.glob("build/tmp-*"))


@pytest.fixture(scope="module")
def base():
    return pip_build.base_wheel()


@pytest.fixture(scope="module")
def wheel(base, tmp_path_factory):
    checkout = copy_checkout(tmp_path_factory.mktemp("built") / "checkout")
    result = run_build(checkout, "--base-wheel", base)
    assert result.returncode == 0, result.stderr
    (path,) = checkout.glob("dist/*")
    assert result.stdout.splitlines()[-1] == str(path)
    return path


@pytest.fixture
def checkout(tmp_path):
    return copy_checkout(tmp_path / "checkout")


@pytest.fixture
def other_base(base, tmp_path):
    """The base wheel, changed in a way that only its hash shows."""
    path = tmp_path / "other" / base.name
    path.parent.mkdir()
    shutil.copyfile(base, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"changed"
    return path


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_version(wheel):
    files = contents(wheel)
    version = pip_build.version()
    assert re.fullmatch(r"3\.15\.1\+rawloss\.2\.[0-9a-f]{8}", version)
    assert wheel.name == f"keras-{version}-py3-none-any.whl"
    assert f'"{version}"' in files["keras/src/version.py"].decode()
    metadata = files[f"{INFO}/METADATA"].decode()
    assert f"\nVersion: {version}\n" in metadata
    assert not [name for name in files if name.startswith(BASE_INFO)]


def test_record_lists_every_file_with_its_hash(wheel):
    files = contents(wheel)
    rows = list(csv.reader(files[f"{INFO}/RECORD"].decode().splitlines()))
    assert sorted(row[0] for row in rows) == sorted(files)
    for name, digest, size in rows:
        if name != f"{INFO}/RECORD":
            found = hashlib.sha256(files[name]).digest()
            found = base64.urlsafe_b64encode(found).decode().rstrip("=")
            assert (digest, size) == (f"sha256={found}", str(len(files[name])))


def test_licence_and_notice(wheel, base):
    files = contents(wheel)
    licence = files[f"{INFO}/licenses/LICENSE"]
    assert licence == contents(base)[f"{BASE_INFO}/licenses/LICENSE"]
    notice = files[f"{INFO}/licenses/NOTICE"].decode()
    for path in (*pip_build.overlay(), *pip_build.edit_files()):
        assert path in notice
    edited = "keras/src/trainers/trainer.py (Trainer.compile)"
    assert f"\nedited: {edited}\n" in notice
    assert pip_build.locked_base()[1] in notice
    metadata = files[f"{INFO}/METADATA"].decode()
    for name in ("LICENSE", "NOTICE"):
        assert f"\nLicense-File: {name}\n" in metadata


def test_only_our_modules_differ_from_the_base(wheel, base):
    ours = pip_build.overlay() | pip_build.edited_files()
    new, old = (
        {
            name: text
            for name, text in contents(path).items()
            if ".dist-info/" not in name
        }
        for path in (wheel, base)
    )
    assert set(new) == set(old) | set(ours)
    changed = {name for name in new if new[name] != old.get(name)}
    assert changed == {*ours, "keras/src/version.py"}
    for name, file in ours.items():
        assert new[name] == file.read_bytes()
    assert not [name for name in ours if name.endswith("_test.py")]


def test_same_bytes_again(wheel, base, checkout):
    previous = os.umask(0o077)
    try:
        result = run_build(
            checkout,
            "--base-wheel",
            base,
            TZ="Asia/Kolkata",
            SOURCE_DATE_EPOCH="1000000000",
            PYTHONHASHSEED="7",
        )
    finally:
        os.umask(previous)
    assert result.returncode == 0, result.stderr
    assert (checkout / "dist" / wheel.name).read_bytes() == wheel.read_bytes()


def test_base_wheel_is_kept_for_the_next_time(base, checkout):
    assert run_build(checkout, "--base-wheel", base).returncode == 0
    assert run_build(checkout).returncode == 0


def test_wrong_hash(checkout, other_base):
    result = run_build(checkout, "--base-wheel", other_base)
    hashes = pip_build.sha256_of(other_base), pip_build.locked_base()[1]
    assert_refused(checkout, result, *hashes)


def test_wrong_hash_from_the_index(checkout, other_base):
    result = run_build(checkout, PIP_FIND_LINKS=str(other_base.parent))
    hashes = pip_build.sha256_of(other_base), pip_build.locked_base()[1]
    assert_refused(checkout, result, *hashes)


def test_other_version(checkout, tmp_path):
    path = tmp_path / "keras-3.14.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "keras-3.14.0.dist-info/METADATA",
            "Metadata-Version: 2.4\nName: keras\nVersion: 3.14.0\n",
        )
    result = run_build(checkout, "--base-wheel", path)
    assert_refused(
        checkout, result, "3.14.0", pip_build.locked_base()[0], "give"
    )


@pytest.mark.parametrize("kind", ["text", "zip", "folder", "missing"])
def test_not_a_wheel(checkout, tmp_path, kind):
    path = tmp_path / "keras-3.15.1-py3-none-any.whl"
    if kind == "text":
        path.write_text("no wheel")
    elif kind == "zip":
        zipfile.ZipFile(path, "w").close()
    elif kind == "folder":
        path.mkdir()
    result = run_build(checkout, "--base-wheel", path)
    assert_refused(checkout, result, path, "give")


OTHER_BASES = [*pip_build.bases()][1:]


@pytest.mark.parametrize("version", OTHER_BASES)
def test_other_base_release(checkout, version, monkeypatch):
    """All edits apply, and nothing but them and our modules is new."""
    monkeypatch.setenv(pip_build.BASE_VARIABLE, version)
    base = pip_build.base_wheel()
    monkeypatch.delenv(pip_build.BASE_VARIABLE)
    result = run_build(checkout, "--base", version, "--base-wheel", base)
    assert result.returncode == 0, result.stderr
    (path,) = checkout.glob(f"dist/{version}/*")
    local = pip_build.version().partition("+")[2]
    assert path.name == f"keras-{version}+{local}-py3-none-any.whl"
    new, old = contents(path), contents(base)
    info = f"keras-{version}+{local}.dist-info"
    licence = (pip_build.ROOT / "LICENSE").read_bytes()
    assert new[f"{info}/licenses/LICENSE"] == licence
    metadata = new[f"{info}/METADATA"].decode()
    for line in (
        f"Version: {version}+{local}",
        "License-File: LICENSE",
        "License-File: NOTICE",
    ):
        assert metadata.splitlines().count(line) == 1
    changed = {
        name
        for name in {*new, *old}
        if ".dist-info/" not in name and new.get(name) != old.get(name)
    }
    ours = {*pip_build.overlay(), "keras/src/version.py"}
    notice = new[f"{info}/licenses/NOTICE"].decode()
    on_head = pip_build.is_nightly(version)
    for name, edit in pip_build.edit_files().items():
        found = edits.read(edit.read_text(encoding="utf-8"), edit.name)
        kept, left_out = edits.chosen(found, on_head)
        for one in kept:
            assert f"({one.names[0]})" in notice
        # Where all is left out, nothing changes.
        if kept or not left_out:
            ours.add(name)
    assert changed == ours


def nightly_of(base, path, version, changes):
    """A nightly build: the base with other texts, `{file: (old, new)}`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in contents(base).items():
            if name in changes:
                old, new = changes[name]
                assert source.decode().count(old) == 1
                source = source.decode().replace(old, new)
            name = name.replace(BASE_INFO, f"keras_nightly-{version}.dist-info")
            if name.endswith(".dist-info/METADATA"):
                source = f"Name: keras-nightly\nVersion: {version}\n"
            archive.writestr(name, source)
    return path


def test_what_a_nightly_build_needs(checkout, base, tmp_path):
    """A line for each edit that doesn't fit; nothing is built."""
    path = tmp_path / "keras_nightly-9.0.0.dev1-py3-none-any.whl"
    wanted = "keras-nightly==9.0.0.dev1"
    options = "--base", wanted, "--base-wheel", path
    # What is edited on head alone does not fit a release.
    nightly_of(base, path, "9.0.0.dev1", {})
    known = run_build(checkout, *options).stderr.splitlines()
    changes = {
        "keras/src/trainers/trainer.py": (
            "    def get_compile_config(self):\n",
            "    def get_compile_arguments(self):\n",
        ),
        "keras/src/trainers/epoch_iterator.py": (
            "    def __iter__(self):\n",
            "    def __iter__(self):  # Theirs.\n",
        ),
        # Edited on releases alone.
        "keras/src/saving/serialization_lib.py": (
            "def _get_class_or_fn_config(",
            "def _get_config(",
        ),
    }
    nightly_of(base, path, "9.0.0.dev1", changes)
    result = run_build(checkout, *options)
    assert result.returncode == 1
    lines = [x for x in result.stderr.splitlines() if x not in known]
    assert len(lines) == 2
    assert "EpochIterator.__iter__" in lines[0]
    assert "get_compile_config" in lines[1]
    assert not list(checkout.glob("dist/*"))


def test_a_nightly_build_that_needs_nothing(checkout, monkeypatch):
    monkeypatch.setenv(pip_build.BASE_VARIABLE, pip_build.HEAD)
    path = pip_build.base_wheel()
    wanted = f"keras-nightly=={pip_build.locked_base()[0]}"
    monkeypatch.delenv(pip_build.BASE_VARIABLE)
    result = run_build(checkout, "--base", wanted, "--base-wheel", path)
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert wanted in last and pip_build.sha256_of(path) in last


def test_another_wheel_than_that_of_the_nightly_build(checkout, base):
    wanted = "keras-nightly==9.0.0.dev1"
    result = run_build(checkout, "--base", wanted, "--base-wheel", base)
    assert_refused(checkout, result, base, "keras==3.15.1", wanted)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.11.3", ["too old", *OTHER_BASES]),
        ("2.15.0", ["too old", *OTHER_BASES]),
        ("3.12.1", ["newest patch", "give 3.12.4"]),
        ("3.16.0", ["not known", "requirements-other-bases.txt"]),
        ("newest", ["no release", *OTHER_BASES]),
        ("9.0.0.dev1", ["not known", "--base keras-nightly==9.0.0.dev1"]),
    ],
)
def test_unknown_base_release(checkout, version, words):
    result = run_build(checkout, "--base", version)
    assert_refused(checkout, result, version, *words)


def test_missing_index(checkout):
    result = run_build(checkout)
    assert_refused(checkout, result, "index", "--base-wheel FILE")


@pytest.mark.parametrize("name", ["dist", "build"])
def test_folder_that_cannot_be_written(base, checkout, name):
    # A file in its place: root can write to every folder.
    shutil.rmtree(checkout / name, ignore_errors=True)
    (checkout / name).touch()
    result = run_build(checkout, "--base-wheel", base)
    assert_refused(checkout, result, checkout / name, "writable")


def test_package_in_the_overlay(base, checkout):
    (checkout / "keras/src/__init__.py").touch()
    result = run_build(checkout, "--base-wheel", base)
    assert_refused(checkout, result, "keras/src/__init__.py", "remove")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


def install(wheel, environment):
    pip_build.install(wheel, pip_build.python_in(environment), [])


def uninstall(environment):
    status, lines = pip_build.run_pip(
        pip_build.python_in(environment), "uninstall", "--yes", "keras"
    )
    assert status == 0, lines


def everything_in(environment):
    return {
        path
        for path in environment.rglob("*")
        if "__pycache__" not in path.parts
    }


def test_install_and_uninstall(wheel, environment):
    before = everything_in(environment)
    python = pip_build.python_in(environment)
    installed = (pip_build.version(), pip_build.sha256_of(wheel))
    install(wheel, environment)
    assert pip_build.installed_keras(python) == installed
    # An older build would have the same version, and other files.
    name = "keras/src/trainers/compile_utils.py"
    (module,) = environment.rglob(name)
    module.write_text("older")
    install(wheel, environment)
    assert module.read_bytes() == contents(wheel)[name]
    uninstall(environment)
    assert everything_in(environment) == before


def test_install_over_stock(wheel, base, environment):
    before = everything_in(environment)
    python = pip_build.python_in(environment)
    install(base, environment)
    assert pip_build.installed_keras(python)[0] == pip_build.locked_base()[0]
    install(wheel, environment)
    assert pip_build.installed_keras(python)[0] == pip_build.version()
    uninstall(environment)
    assert everything_in(environment) == before


def test_environment_that_cannot_be_written(base, checkout, tmp_path):
    folder = tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", folder], check=True
    )
    (site_packages,) = folder.rglob("site-packages")
    site_packages.rmdir()
    site_packages.touch()
    result = run_build(
        checkout,
        "--base-wheel",
        base,
        "--install",
        VIRTUAL_ENV=str(folder),
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(site_packages) in line
    assert "activate" in line


@pytest.fixture
def fresh(environment):
    """The environment, without the Keras that a test leaves in it."""
    yield environment
    uninstall(environment)


def test_install_changes_keras_alone(base, checkout, fresh):
    """With no index in reach; what Keras lacks is named."""
    result = run_build(
        checkout, "--base-wheel", base, "--install", VIRTUAL_ENV=str(fresh)
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    for word in ("absl-py", "optree", "--backend NAME"):
        assert word in line
    python = pip_build.python_in(fresh)
    assert pip_build.installed_keras(python)[0] == pip_build.version()
    assert {*pip_build.versions_in(python)} <= {"pip", "setuptools", "keras"}


def package(folder, name, version, module=None, requires=()):
    """A wheel of one empty module."""
    module = module or name
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    files = {
        f"{module}.py": "",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("there", "words"),
    [
        # The names of the backend's packages differ, its module's does not.
        (
            [("tensorflow-cpu", "2.19.0", "tensorflow")],
            ["tensorflow-cpu is there", "Leave --backend out"],
        ),
        ([("numpy", "0.1", "numpy")], ["numpy 0.1 would become 0.2"]),
        ([], []),
    ],
    ids=["the backend by another name", "another NumPy", "nothing"],
)
def test_a_backend_leaves_alone_what_is_there(
    wheel, base, tmp_path, monkeypatch, there, words
):
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = pip_build.python_in(folder)
    links = tmp_path / "links"
    links.mkdir()
    package(links, "tensorflow", "2.21.0", requires=["numpy>=0.2"])
    package(links, "numpy", "0.2")
    names = re.findall(
        r"^Requires-Dist: ([\w-]+)(?!.*extra)",
        contents(wheel)[f"{INFO}/METADATA"].decode(),
        re.MULTILINE,
    )
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy==0.2\n")
    for name in {*names} - {"numpy"}:
        package(links, name, "99.0", module=f"{name.replace('-', '_')}_")
    for variable, value in (
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", str(links)),
        ("PIP_CONFIG_FILE", os.devnull),
    ):
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(pip_build, "PINS", pins)
    for one in there:
        own = tmp_path / "there"
        own.mkdir(exist_ok=True)
        path = package(own, *one)
        pip_build.run_pip(python, "install", "--no-deps", str(path))
    before = pip_build.versions_in(python)
    if not words:
        pip_build.check_changes(wheel, python, "tensorflow")
        pip_build.install(wheel, python, ["tensorflow"])
        pip_build.check_complete(python)
        after = pip_build.versions_in(python)
        assert after["tensorflow"] == "2.21.0" and after["numpy"] == "0.2"
        return
    with pytest.raises(pip_build.BuildError) as caught:
        pip_build.check_changes(wheel, python, "tensorflow")
    for word in words:
        assert word in str(caught.value)
    assert pip_build.versions_in(python) == before


INSTALLERS = {
    "pip": lambda python: [python, "-m", "pip", "install", "--no-deps"],
    "uv": lambda python: [
        *(sys.executable, "-m", "uv", "pip", "install", "--offline"),
        *("--no-deps", "--no-config", f"--python={python}"),
    ],
}
BACK = {
    "pip": ["--force-reinstall"],
    "uv": ["--reinstall-package", "keras"],
}


@pytest.mark.parametrize("installer", INSTALLERS)
def test_in_and_back_as_documented(wheel, base, checkout, fresh, installer):
    """Over stock, a rebuilt wheel over an older one, and back to stock."""
    python = pip_build.python_in(fresh)

    def install(*arguments):
        variables = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        answer = subprocess.run(
            [*INSTALLERS[installer](python), *map(str, arguments)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        return pip_build.versions_in(python)["keras"]

    assert install(base) == "3.15.1"
    assert install(wheel) == pip_build.version()
    module = checkout / "keras/src/trainers/compile_utils.py"
    module.write_text(module.read_text() + "# Changed.\n")
    rebuilt = run_build(checkout, "--base-wheel", base)
    assert rebuilt.returncode == 0, rebuilt.stderr
    (path,) = (checkout / "dist").glob("*.whl")
    assert path.name != wheel.name
    assert install(path) == path.name.split("-")[1]
    (found,) = fresh.rglob("keras/src/trainers/compile_utils.py")
    assert found.read_text().endswith("# Changed.\n")
    # A pin on the base release is content with ours, and so changes nothing.
    stock = ["keras==3.15.1", f"--find-links={base.parent}"]
    assert install(*stock) == path.name.split("-")[1]
    assert install(*BACK[installer], *stock) == "3.15.1"


def test_a_build_takes_the_place_of_the_one_before(checkout, base):
    assert run_build(checkout, "--base-wheel", base).returncode == 0
    (first,) = (checkout / "dist").glob("*.whl")
    module = checkout / "keras/src/losses/loss.py"
    module.write_text(module.read_text() + "# Changed.\n")
    assert run_build(checkout, "--base-wheel", base).returncode == 0
    (second,) = (checkout / "dist").glob("*.whl")
    assert first.name != second.name


def test_pins_are_for_what_is_not_there(monkeypatch, tmp_path):
    pins = tmp_path / "pins.txt"
    pins.write_text("# Why.\nml_dtypes==0.6.0\nnumpy==9\nsetuptools==99\n")
    monkeypatch.setattr(pip_build, "PINS", pins)
    there = {"numpy": "2.0.2", "setuptools": "65.5.0"}
    monkeypatch.setattr(pip_build, "versions_in", lambda python: there)
    lines = pip_build.pins_of_others("python").read_text().splitlines()
    assert lines == ["# Why.", "ml_dtypes==0.6.0"]


def test_what_the_wheel_says_of_itself(wheel):
    metadata = contents(wheel)[f"{INFO}/METADATA"].decode()
    head = metadata.partition("\n\n")[0]
    assert "Project-URL" not in head and "Home-page" not in head
    assert f"\nSummary: {pip_build.SUMMARY}\n" in head
    notice = contents(wheel)[f"{INFO}/licenses/NOTICE"].decode()
    # The copy that it was built from is no checkout of git's.
    assert "at the commit unknown." in notice


def test_the_commit_in_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(pip_build, "ROOT", tmp_path)
    assert pip_build.commit() == "unknown"
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run(
        [*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True
    )
    assert re.fullmatch("[0-9a-f]{40}", pip_build.commit())


def test_a_backend_without_an_index(base, checkout, environment):
    before = everything_in(environment)
    result = run_build(
        checkout,
        "--base-wheel",
        base,
        "--install",
        "--backend=jax",
        VIRTUAL_ENV=str(environment),
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "index" in line
    assert everything_in(environment) == before
