"""Makes `import keras` give the base release with the checkout's modules.

    python integration_tests/support/checkout_finder.py [--stock] SCRIPT [...]

runs a script that way; conftest.py does it for pytest. Which Keras is
installed, if any, does not matter. Imports no Keras itself.
"""

import importlib.abc
import importlib.util
import json
import os
import pathlib
import runpy
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    # Last: nothing of the checkout shall hide a package of the same name.
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402

# An environment variable for mutation.py, read by the workers of tests, too:
# JSON of files to be run in place of ours, by path.
REPLACED = "RAWLOSS_REPLACED"


def our_files():
    """What the wheel would not have from the base, as `{path: file}`."""
    replaced = json.loads(os.environ.get(REPLACED, "{}"))
    replaced = {path: pathlib.Path(file) for path, file in replaced.items()}
    return pip_build.overlay() | pip_build.edited_files() | replaced


class CheckoutFinder(importlib.abc.MetaPathFinder):
    """Serves the modules that the wheel would have laid over the base."""

    def __init__(self):
        self.files, self.packages = {}, {}
        for path, file in our_files().items():
            folder, _, stem = path.removesuffix(".py").rpartition("/")
            name = folder.replace("/", ".")
            if stem == "__init__":
                self.packages[name] = [str(pip_build.unpacked_base() / folder)]
            else:
                name = f"{name}.{stem}"
            self.files[name] = file

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.files:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            self.files[fullname],
            submodule_search_locations=self.packages.get(fullname),
        )


def install(stock=False):
    """Sets up imports in this process, before Keras is first imported."""
    if "keras" in sys.modules:
        raise RuntimeError(
            "Keras is imported already: install the finder first."
        )
    sys.path.insert(0, str(pip_build.unpacked_base()))
    if not stock:
        sys.meta_path.insert(0, CheckoutFinder())


def file_under_test(module, stock=False):
    """The file that `import module` will run, found without importing it."""
    path = module.replace(".", "/") + ".py"
    ours = {} if stock else our_files()
    return ours.get(path, pip_build.unpacked_base() / path)


def main(arguments):
    stock = arguments[:1] == ["--stock"]
    sys.argv = arguments[stock:]
    if not sys.argv:
        sys.exit(__doc__)
    with pip_build.one_line_errors():
        install(stock)
    sys.path[0:0] = [str(pathlib.Path(sys.argv[0]).resolve().parent)]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
