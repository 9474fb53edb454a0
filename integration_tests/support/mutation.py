"""Breaks our modules on purpose, one way at a time, and runs the tests.

    python integration_tests/support/mutation.py [--only TEXT ...] [--jobs 1]

A mutant is one of our modules with one change, made from the syntax tree. It
is killed if a test fails, and what no test notices is either not tested or
makes no difference: `EQUIVALENT` has the latter, with the reason. Each mutant
goes through `STAGES` until it is killed, in each to the module's own tests
first. The checkout stays as it is: a mutant is a file under build/, which is
imported in place of ours by a process of its own. That process is forked from
one that has imported PyTorch, but not Keras.

Without `--only`, writes what was found to mutants.md beside this file. To
spread it over several runs, begin with `--stages 1` and go on with `--resume`.
"""

import argparse
import ast
import collections
import concurrent.futures
import copy
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import threading
import zlib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import checkout_finder  # noqa: E402

# All of ours, but for a list of names.
MODULES = tuple(
    path for path in pip_build.overlay() if not path.endswith("backend_ops.py")
)
SCRATCH = pip_build.BUILD / "mutants"
RECORD = ROOT / "integration_tests" / "support" / "mutants.md"


# 1. Mutants.


class Mutant(NamedTuple):
    """A change of a module.

    Args:
        path: The module's path.
        place: The qualified name of the function or class around the change.
        operator: The name of the kind of change.
        old: The source that is replaced, on one line.
        new: What replaces it.
        source: The whole module with the change.
        number: Tells changes in one place apart whose text is the same.
    """

    path: str
    place: str
    operator: str
    old: str
    new: str
    source: str
    number: int = 1

    @property
    def name(self):
        """Tells the mutant from others, wherever its line may move to."""
        stem = pathlib.PurePath(self.path).stem
        place = f"{stem}.{self.place}".removesuffix(".")
        number = f" ({self.number})" if self.number > 1 else ""
        return f"{place}: {self.old} -> {self.new}{number}"

    @property
    def digest(self):
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


# Of other comparisons, nearly all are conditions.
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
}
# Without these, the argument itself is used.
UNWRAPPED = ("stop_gradient", "cast", "sorted", "scale_loss_for_distribution")
RENAMED = {
    "any": "all",
    "all": "any",
    "max": "min",
    "sum": "mean",
    "divide_no_nan": "divide",
    "logical_and": "logical_or",
    "multiply": "add",
}
# Calls whose arguments either may be swapped, or can't be.
UNSWAPPED = ("multiply", "add", "logical_and", "isinstance")
# What is passed on beside the predictions, and must not get lost.
PASSED_ON = ("sample_weight", "sample_weights", "mask", "weight", "weights")


def called(node):
    """The last part of the name of what a call calls."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return getattr(node.func, "id", "")


def with_fields(node, **fields):
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def replaced(items, index, *new):
    return [*items[:index], *new, *items[index + 1 :]]


def mutate_test(node):
    """A condition that always, or never, holds."""
    if not isinstance(node, ast.While):
        yield "condition", node.test, ast.Constant(True)
    yield "condition", node.test, ast.Constant(False)


def mutate_filter(node):
    for test in node.ifs:
        yield "condition", test, ast.Constant(True)


def mutate_compare(node):
    operator = COMPARISONS.get(type(node.ops[0]))
    if operator:
        yield "comparison", node, with_fields(node, ops=[operator()])


def mutate_boolean(node):
    """A condition that looks at one thing less."""
    for index in range(len(node.values)):
        values = replaced(node.values, index)
        rest = with_fields(node, values=values) if values[1:] else values[0]
        yield "boolean", node, rest


def mutate_not(node):
    if isinstance(node.op, ast.Not):
        yield "boolean", node, node.operand


def mutate_arithmetic(node):
    operator = ARITHMETIC.get(type(node.op))
    if operator:
        yield "arithmetic", node, with_fields(node, op=operator())


def mutate_constant(node):
    if isinstance(node.value, bool):
        yield "constant", node, ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield "constant", node, ast.Constant(node.value + 1)


def mutate_subscript(node):
    index = node.slice
    if isinstance(index, ast.UnaryOp):
        yield "index", node, with_fields(node, slice=ast.Constant(0))
    elif isinstance(index, ast.Constant) and index.value == 0:
        yield "index", node, with_fields(node, slice=ast.Constant(-1))


def mutate_call(node):
    name, arguments = called(node), node.args
    if name in UNWRAPPED and arguments:
        yield f"no {name}", node, arguments[0]
    if name in RENAMED:
        text = ast.unparse(node.func).removesuffix(name) + RENAMED[name]
        function = ast.parse(text, mode="eval").body
        yield "function", node, with_fields(node, func=function)
    if name == "shape" and isinstance(node.func, ast.Attribute):
        yield "static shape", node, ast.Attribute(arguments[0], "shape")
    for index, argument in enumerate(arguments):
        if isinstance(argument, ast.Name) and argument.id in PASSED_ON:
            lost = replaced(arguments, index, ast.Constant(None))
            yield "argument", node, with_fields(node, args=lost)
    simple = (ast.Name, ast.Attribute, ast.Subscript)
    are_simple = all(isinstance(a, simple) for a in arguments[:2])
    if len(arguments) > 1 and are_simple and name not in UNSWAPPED:
        swapped = [arguments[1], arguments[0], *arguments[2:]]
        yield "swapped", node, with_fields(node, args=swapped)
    for index in range(len(node.keywords)):
        kept = replaced(node.keywords, index)
        yield "argument", node, with_fields(node, keywords=kept)


def mutate_loop(node):
    """A loop that leaves out the last item."""
    template = ast.parse("list(x)[:-1]", mode="eval").body
    template.value.args = [node.iter]
    yield "one less", node.iter, template


def mutate_statement(node):
    """A statement that isn't there."""
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
        return
    if isinstance(node, ast.Assign):
        # Dropping the first assignment of a variable is too easy to find.
        targets = {getattr(target, "id", None) for target in node.targets}
        names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if not targets & names:
            return
    yield "no statement", node, ast.Pass()


OPERATORS = {
    ast.If: (mutate_test,),
    ast.IfExp: (mutate_test,),
    ast.While: (mutate_test,),
    ast.Compare: (mutate_compare,),
    ast.BoolOp: (mutate_boolean,),
    ast.UnaryOp: (mutate_not,),
    ast.BinOp: (mutate_arithmetic,),
    ast.Constant: (mutate_constant,),
    ast.Subscript: (mutate_subscript,),
    ast.Call: (mutate_call,),
    ast.For: (mutate_loop,),
    ast.comprehension: (mutate_loop, mutate_filter),
    ast.Expr: (mutate_statement,),
    ast.Assign: (mutate_statement,),
    ast.AugAssign: (mutate_statement,),
    ast.Raise: (mutate_statement,),
    ast.Continue: (mutate_statement,),
}

# Mistakes that take more than one node: what is found anywhere in a module,
# and what replaces it.
BY_HAND = (
    (
        "records what is weighed",
        "values = replicas.unscale_losses(numbers)",
        "values = replicas.unscale_losses(list(map(weigh, numbers, weights)))",
    ),
    (
        "batches count alike",
        "torch._foreach_add_([variable._value for variable in (*sums, "
        "*counts)], [*values, *ones], alpha=count)",
        "torch._foreach_add_([variable._value for variable in (*sums, "
        "*counts)], [*values, *ones])",
    ),
    (
        "batches count alike",
        "products = tf.raw_ops.Pack(values=values) * count",
        "products = tf.raw_ops.Pack(values=values)",
    ),
    (
        "state as narrow as floatx",
        "super().__init__(name=name, "
        "dtype=dtype or weighting.wide_dtype(backend.floatx()))",
        "super().__init__(name=name, dtype=dtype or backend.floatx())",
    ),
    (
        "one loss entry is dropped",
        "return sum(contributions[1:], start=contributions[0])",
        "return contributions[0]",
    ),
    (
        "a NaN is hidden",
        "return native.ratio(self.total.value, self.count.value)",
        "return ops.nan_to_num("
        "native.ratio(self.total.value, self.count.value))",
    ),
    (
        "a mask is skipped",
        "mask = get_keras_mask(y_pred)",
        "mask = None",
    ),
    (
        "a variable is read once",
        "if isinstance(weight, backend.Variable) or is_tensor(weight): pass",
        "if is_tensor(weight): pass",
    ),
)


class Finder(ast.NodeVisitor):
    """Finds all changes of a module, as `(place, operator, old, new)`."""

    def __init__(self):
        self.place, self.found = [], []

    def visit_scope(self, node):
        self.place.append(node.name)
        # Defaults and decorators are rarely more than names.
        for child in node.body:
            self.visit(child)
        self.place.pop()

    visit_FunctionDef = visit_ClassDef = visit_scope

    def visit_Raise(self, node):
        # What an error says is no behaviour that a change could break.
        self.try_operators(node)

    def visit_JoinedStr(self, node):
        pass

    def generic_visit(self, node):
        self.try_operators(node)
        super().generic_visit(node)

    def try_operators(self, node):
        for operator in OPERATORS.get(type(node), ()):
            for name, old, new in operator(node):
                self.found.append((".".join(self.place), name, old, new))


def find_by_hand(tree):
    for name, old, new in BY_HAND:
        old, new = (ast.parse(text).body[0] for text in (old, new))
        if isinstance(old, ast.If):
            old, new = old.test, new.test
        for node in ast.walk(tree):
            if type(node) is type(old) and ast.dump(node) == ast.dump(old):
                yield "", name, node, new


def mutants_of(path):
    """All mutants of the module at a path, each of them another source."""
    source = (ROOT / path).read_bytes()
    tree = ast.parse(source)
    finder = Finder()
    finder.visit(tree)
    lines = source.splitlines(keepends=True)
    # Where each line begins, in bytes, as the syntax tree counts them.
    starts = [0, *itertools.accumulate(map(len, lines))]
    names, seen = collections.Counter(), set()
    for place, operator, old, new in [*find_by_hand(tree), *finder.found]:
        text = ast.unparse(ast.fix_missing_locations(new))
        if isinstance(new, ast.expr):
            text = f"({text})"
        begin = starts[old.lineno - 1] + old.col_offset
        end = starts[old.end_lineno - 1] + old.end_col_offset
        if (begin, end, text) in seen:
            continue
        seen.add((begin, end, text))
        changed = source[:begin] + text.encode() + source[end:]
        mutant = Mutant(
            path, place, operator, ast.unparse(old), text, changed.decode()
        )
        names[mutant.name] += 1
        yield mutant._replace(number=names[mutant.name])


# Mutants that do the same as the original, or that nobody could tell from it,
# and why. By name; see `Mutant`.
ONLY_FASTER = "What is left out only saves time; the result is the same."
TWO_DEVICES = "It takes two devices to tell, and the tests have one."
NO_NAME = "The name is shown nowhere."
ONE_AXIS = "There is one axis."
SHOWN_LINE = "It shows a line of Keras either way."
LAST_BACKEND = "The backends that the tests have return before it."
EQUIVALENT = {
    "native.mean_of_all: _BACKEND == 'jax' -> (True)": LAST_BACKEND,
    "loss._numbers_as_array: not isinstance(x, (list, tuple)) -> "
    "(False)": ONLY_FASTER,
    "compile_utils.CompileLoss._raw_loss: len(raw.shape) == 0 -> "
    "(False)": ONLY_FASTER,
    "loss._convert: is_converted(y_true, dtype) and "
    "is_converted(y_pred, dtype) -> (False)": ONLY_FASTER,
    "loss_plan.sample_weight_at: found[0] -> (found[-1])": (
        "All of them are the same object."
    ),
    "loss_plan.sample_weight_at: found[0] -> (found[-1]) (2)": (
        "All of them are the same object."
    ),
    "loss_plan._match_losses: below(match.target)[0] -> "
    "(below(match.target)[-1])": (
        "The outputs of one loss stand side by side, and have no other."
    ),
    "ownership.worker: isinstance(obj, types.FunctionType) -> "
    "(False)": ONLY_FASTER,
    **{
        f"ownership.warn_once: {change}": SHOWN_LINE
        for change in (
            "2 -> (3)",
            "warnings.warn(f'`{name}`{text}', UserWarning, stacklevel=2) -> "
            "(warnings.warn(f'`{name}`{text}', UserWarning))",
        )
    },
    "weighting.shape_of: 0 -> (1)": "Any number tells the same.",
    "weighting.apply_mask: squeeze_or_expand_to_same_rank(kept, weight) -> "
    "(squeeze_or_expand_to_same_rank(weight, kept))": (
        "The product is the same."
    ),
    "metric_plan.update: ownership.is_entrywise(found) -> (True)": (
        "Metrics over classes have a value for each position already, and may "
        "be given a mask twice."
    ),
    "output_matcher._reader: all((path is not None and len(path) == 1 "
    "for path in paths)) -> (False)": ONLY_FASTER,
    "raw_loss.record: sums[0] -> (sums[-1])": "All have one dtype.",
    "loss_plan._one_repeated: weights[0] -> (weights[-1])": (
        "All of them are the same number."
    ),
    "loss_plan.entries: made[0] -> (made[-1])": "There is one.",
    "loss_terms.LossTerms._make_variables: 2 -> (3)": (
        "There is room for one more, which stays empty."
    ),
    "loss_terms.LossTerms._make_variables: metrics_module.Metric("
    "name='loss_terms') -> (metrics_module.Metric())": NO_NAME,
    "loss_terms.LossTerms.record: last.shape[0] -> (last.shape[-1])": ONE_AXIS,
    "loss_terms.LossTerms._name: self.variables[0] -> "
    "(self.variables[-1])": "Both have one shape.",
    "native._jax_mean: True -> (False)": ONLY_FASTER,
    "native.ratio: ops.divide_no_nan(total, count) -> "
    "(ops.divide(total, count))": LAST_BACKEND,
    "native.set_to_zero: variable._value.assign(0.0, read_value=False) -> "
    "(variable._value.assign(0.0))": ONLY_FASTER,
    **{
        f"native.set_to_zero: _BACKEND == '{name}' and (not is_stateless) -> "
        "(False)": ONLY_FASTER
        for name in ("torch", "tensorflow", "jax")
    },
    **{
        f"native.{function}: _BACKEND == 'jax' and (not is_stateless) -> "
        "(_BACKEND == 'jax')": (
            "A stateless step is compiled anyway; the sums are the same."
        )
        for function in ("add_to_sums", "set_to_zero")
    },
    **{
        f"native.{change}": ONLY_FASTER
        for change in (
            "is_of_this_graph: _BACKEND != 'tensorflow' -> (False)",
            "mean_of_all: _BACKEND == 'torch' -> (False)",
            "mean_of_all: _BACKEND == 'tensorflow' -> (False)",
            "mean_of_all: _BACKEND == 'jax' -> (False)",
            "mean_of_all: len(values.shape) == 1 -> (False)",
            "add_to_sums: isinstance(count, int) and "
            "_are_on_one_device(values) -> (False)",
            "ratio: _BACKEND == 'tensorflow' -> (False)",
            "ratio: _BACKEND == 'jax' -> (False)",
            "set_to_zero: False -> (True)",
            "_jax_mean: jax.jit(jax.numpy.mean, inline=True) -> "
            "(jax.jit(jax.numpy.mean))",
            "_jax_ratio: jax.jit(divide, inline=True) -> (jax.jit(divide))",
            "_jax_ratio: True -> (False)",
            *(
                f"add_to_sums: _BACKEND == '{name}' and (not is_stateless) -> "
                "(False)"
                for name in ("torch", "tensorflow", "jax")
            ),
        )
    },
    **{
        f"native.{change}": LAST_BACKEND
        for change in (
            "ratio: _BACKEND == 'jax' -> (True)",
            "ratio: ops.divide_no_nan(total, count) -> "
            "(ops.divide_no_nan(count, total))",
            "set_to_zero: _BACKEND == 'jax' and (not is_stateless) -> (True)",
            "set_to_zero: _BACKEND == 'jax' and (not is_stateless) -> "
            "(not is_stateless)",
        )
    },
    **{
        f"native.add_to_sums: {change}": "All have one dtype and one device."
        for change in (
            "values[0] -> (values[-1])",
            "sums[0] -> (sums[-1])",
            "sums[0] -> (sums[-1]) (2)",
        )
    },
    **{
        f"native.{change}": TWO_DEVICES
        for change in (
            "add_to_sums: isinstance(count, int) and "
            "_are_on_one_device(values) -> (isinstance(count, int))",
            "_are_on_one_device: 1 -> (2)",
        )
    },
    **{
        f"native.is_on_keras_device: {change}": "It takes a GPU to tell."
        for change in (
            "device.type != wanted or device.index is None -> "
            "(device.index is None)",
            "wanted == 'cuda' and device.index == torch.cuda.current_device() "
            "-> (device.index == torch.cuda.current_device())",
        )
    },
    "native.is_of_this_graph: not tf.executing_eagerly() and x.graph is "
    "tf.compat.v1.get_default_graph() -> (x.graph is "
    "tf.compat.v1.get_default_graph())": (
        "Outside of functions, the graph of none is the default."
    ),
    **{
        f"native.add_to_sums: isinstance(count, int) and "
        f"_are_on_one_device(values) -> ({rest})": (
            "PyTorch knows all sizes, and the tests have one device."
        )
        for rest in ("_are_on_one_device(values)", "True")
    },
    **{
        f"native.{function}: not is_stateless -> (is_stateless) (3)": (
            "What JAX compiles here gives the same as what it would do else."
        )
        for function in ("add_to_sums", "set_to_zero")
    },
    "loss._mean: ops.cast(weighting.size(values), wide) -> "
    "(weighting.size(values))": (
        "`ops.divide_no_nan` makes floats of whole numbers."
    ),
    "native._jax_sums.add: zip(states, terms) -> (zip(terms, states))": (
        "The sum is the same."
    ),
    "native._jax_sums.add: jax.lax.stop_gradient(value) -> (value)": (
        "Nothing reads a gradient of sums outside of a compiled step."
    ),
    "native._jax_ratio.divide: count + is_zero -> (count - is_zero)": (
        "What it divides by is not used where it differs."
    ),
    "replicas.replica_share: ops.divide_no_nan(samples, total) -> "
    "(ops.divide(samples, total))": "Some replica has a sample.",
    "replicas.replica_share: tf.cast(tf.shape(leaf)[0], 'float32') -> "
    "(tf.shape(leaf)[0])": "Replicas on CPUs add up whole numbers as well.",
    "weighting.map_leaves: is_nested(x) -> (True)": ONLY_FASTER,
    "native._are_on_one_device: tensors -> (list(tensors)[:-1])": TWO_DEVICES,
    **{
        f"raw_loss.record: {change}": ONLY_FASTER
        for change in (
            "not weighting.is_tensor_of(values[0], dtype) -> (True)",
            "weighting.is_tensor_of(values[0], dtype) -> "
            "(weighting.is_tensor_of(dtype, values[0]))",
        )
    },
    "raw_loss.record: values[0] -> (values[-1])": "All have one dtype.",
    **{
        f"class_weights._output_shape: outputs[0] -> (outputs[-1]){number}": (
            "There is one."
        )
        for number in ("", " (2)")
    },
    "weighting.align: max(rank, axes) -> (max(axes, rank))": (
        "The larger one is the same."
    ),
    **{
        f"{kind}.__init__: super().__init__() -> pass": (
            "A new dict is empty anyway."
        )
        for kind in ("ownership._Packages", "class_weights.ClassWeights")
    },
    **{
        f"loss._convert: is_converted({y}, dtype) -> "
        f"(is_converted(dtype, {y}))": ONLY_FASTER
        for y in ("y_true", "y_pred")
    },
    "loss._convert: not weighting.is_nested(y_pred) -> (True)": (
        "No loss of Keras' own takes structures of outputs."
    ),
    **{
        f"loss_weights.weigh: {change}": ONLY_FASTER
        for change in (
            "not isinstance(weight, float) -> (True)",
            "isinstance(weight, float) -> (isinstance(None, float))",
        )
    },
    **{
        f"monitor_callback.MonitorCallback.__init__: {change}": SHOWN_LINE
        for change in (
            "2 -> (3)",
            "warnings.warn(f\"{type(self).__name__} mode '{mode}' is unknown. "
            "Expected one of 'auto', 'min', 'max'. Using 'auto'.\", "
            'stacklevel=2) -> (warnings.warn(f"{type(self).__name__} mode '
            "'{mode}' is unknown. Expected one of 'auto', 'min', 'max'. Using "
            "'auto'.\"))",
        )
    },
    **{
        f"loss._tensor: {change}": ONLY_FASTER
        for change in (
            "is_converted(x, dtype) -> (False)",
            "is_converted(x, dtype) -> (is_converted(dtype, x))",
        )
    },
    **{
        f"loss._label: {change}": (
            "Losses of Keras' own bring labels to the dtype of predictions."
        )
        for change in (
            "dtype not in _NARROW -> (False)",
            "is_float_dtype(standardize_dtype(x.dtype)) -> (False)",
        )
    },
    **{
        f"loss._numbers_as_array: {change}": (
            "No loss of Keras' own takes numbers beside arrays."
        )
        for change in (
            "all((isinstance(leaf, (int, float, np.generic)) for leaf in "
            "tree.flatten(x))) -> (any((isinstance(leaf, (int, float, "
            "np.generic)) for leaf in tree.flatten(x))))",
            "tree.flatten(x) -> (list(tree.flatten(x))[:-1])",
            "are_numbers -> (True)",
        )
    },
    **{
        f"output_matcher.OutputMatcher.{change}": "The list has one item."
        for change in (
            "match: value[0] -> (value[-1])",
            "_lists_one_loss_of_all: value[0] -> (value[-1])",
        )
    },
    "output_matcher._lists_losses_of: kind_of(value) not in (list, tuple) or "
    "kind_of(value) is node.kind -> (kind_of(value) is node.kind)": (
        "The keys of a dict are no losses."
    ),
    **{
        f"compile_utils.CompileMetrics.{change}": ONLY_FASTER
        for change in (
            "named_metrics: named[0] == taken -> (False)",
            "named_metrics: named[0] -> (named[-1])",
            "named_metrics: 0 -> (1)",
            "prepare: matcher is None -> (True)",
        )
    },
    **{
        f"weighting.apply_mask: {change}": (
            "`ops.divide_no_nan` makes floats of whole numbers."
        )
        for change in (
            "ops.cast(mask, wide) -> (mask)",
            "ops.cast(size(mask), wide) -> (size(mask))",
        )
    },
}


# 2. Killing them.

UNIT = tuple(
    f"keras/src/{name}" for name in ("trainers", "losses", "callbacks")
)
FOLDER = "integration_tests"
# How arguments are matched, and refused, is the same on each backend.
MATCHING = tuple(
    f"{FOLDER}/{name}_test.py" for name in ("matching", "errors", "loss_grid")
)
USERS = tuple(f"{FOLDER}/users_{name}_test.py" for name in ("code", "loops"))
TERMS = f"{FOLDER}/loss_terms_test.py"
WEIGHTS = f"{FOLDER}/moving_weights_test.py"
REPLICAS = f"{FOLDER}/replicas_test.py"
MODELS = (
    WEIGHTS,
    *(f"{FOLDER}/{name}_test.py" for name in ("trainer_edits", "modes")),
)


class Stage(NamedTuple):
    """Tests that a mutant is put to.

    Args:
        name: What it is called in the record.
        backend: The backend.
        paths: What pytest runs; nothing is the tests beside the module.
        seconds: Of processor time. A mutant that takes longer has no end.
        options: For pytest.
    """

    name: str
    backend: str
    paths: tuple
    seconds: int
    options: tuple = ()


# Without tests that import TensorFlow, or a compiler.
SLOW = ("tf_data", "unknown_length", "jit", "tensorboard")
FAST = ("-k", " and ".join(f"not {name}" for name in SLOW))
STAGES = (
    # These take seconds, most of them to import Keras.
    Stage("own tests", "torch", (), 30, FAST),
    Stage("own tests (TensorFlow)", "tensorflow", (), 300),
    Stage("own tests (JAX)", "jax", (), 300),
    Stage("unit tests", "torch", (*UNIT, TERMS), 90, FAST),
    Stage("integration tests", "torch", (*USERS, *MATCHING, *MODELS), 300),
    # Little is left for these, apart from what is about one backend.
    Stage("TensorFlow", "tensorflow", (*UNIT, WEIGHTS, REPLICAS, TERMS), 900),
    Stage("JAX", "jax", (*UNIT, WEIGHTS, TERMS), 900),
)


# Where most tests of a module are, if not beside it.
TESTED_BY = {"loss_terms": TERMS, "loss_contributions": TERMS}


def own_tests(path):
    return path.replace(".py", "_test.py")


class FirstFailure:
    """A plugin of pytest that tells which test failed first.

    Args:
        paths: The modules whose tests come first.
    """

    def __init__(self, paths):
        self.own = set(map(own_tests, paths))
        stems = [pathlib.PurePath(path).stem for path in paths]
        self.own |= {TESTED_BY[stem] for stem in stems if stem in TESTED_BY}
        self.found = ""

    def pytest_collection_modifyitems(self, items):
        # The order of paths does not matter to pytest if one holds another.
        items.sort(
            key=lambda item: (
                item.path.relative_to(ROOT).as_posix() not in self.own
            )
        )

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.found:
            self.found = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and not self.found:
            self.found = f"import of {report.nodeid}"


def run_tests(stage, replaced_files, log, sender):
    """Runs a stage in this process, and sends the first test that failed.

    Sends nothing where pytest could not even begin.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (stage.seconds, stage.seconds + 5))
    with open(log, "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(ROOT)
    os.environ["KERAS_BACKEND"] = stage.backend
    # A mutant is run once, and all else is what has passed without a change.
    sys.pycache_prefix = str(SCRATCH / "bytecode")
    sys.dont_write_bytecode = bool(replaced_files)
    os.environ[checkout_finder.REPLACED] = json.dumps(replaced_files)
    import pytest

    plugin = FirstFailure(replaced_files)
    arguments = [*stage.paths, *stage.options, "-x", "-q", "--tb=short"]
    arguments += ["-p", "no:cacheprovider", "-p", "no:warnings"]
    status = pytest.main(arguments, plugins=[plugin])
    sender.send((int(status), plugin.found))
    sys.stdout.flush()
    # Threads of a backend must not keep the process.
    os._exit(0)


# All that Keras imports, since that takes longer than to import Keras. Not
# TensorFlow, which imports Keras.
PRELOADED = (
    "torch._dynamo",
    "jax",
    "sklearn.base",
    "matplotlib.pyplot",
    "pandas",
    "h5py",
    "optree",
    "requests",
    "pytest",
    "absl.testing.parameterized",
)


def fork_server():
    """The context of processes that start with most imports done."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def first_failure(context, stage, mutant=None):
    """What failed first, or an empty string if all tests passed."""
    name = mutant.digest if mutant else "unchanged"
    folder = SCRATCH / name
    folder.mkdir(parents=True, exist_ok=True)
    replaced_files = {}
    if mutant:
        file = folder / pathlib.PurePath(mutant.path).name
        file.write_text(mutant.source, encoding="utf-8")
        replaced_files[mutant.path] = str(file)
    receiver, sender = context.Pipe(duplex=False)
    log = folder / f"{stage.name.replace(' ', '_')}.log"
    process = context.Process(
        target=run_tests,
        args=(stage, replaced_files, log, sender),
        # Ends with this process, should that be interrupted.
        daemon=True,
    )
    process.start()
    sender.close()
    process.join()
    if process.exitcode == -signal.SIGXCPU:
        return f"no end after {stage.seconds} s"
    if process.exitcode == -signal.SIGKILL:
        # By someone else, or for want of memory.
        sys.exit(f"The process of {name} was killed.")
    if process.exitcode != 0:
        # With the traceback in the log.
        return "import of keras"
    status, found = receiver.recv()
    if status not in (0, 1, 2):
        return "import of keras"
    return found


SEPARATOR = ", "


class Result(NamedTuple):
    """How a mutant ended.

    Args:
        mutant: The mutant.
        stage: The name of the stage that killed it; empty if it lives.
        killer: The test that failed or, if it lives, the stages it passed.
    """

    mutant: Mutant
    stage: str
    killer: str


ONCE = threading.Lock()


@functools.lru_cache(maxsize=None)
def require_tests_that_pass(context, stage):
    """Ends the script if a stage fails without any change."""
    failed = first_failure(context, stage)
    if failed:
        sys.exit(f"{stage.name}: {failed} fails without any change.")


def run_stages(context, mutant, stages, passed=()):
    """Puts a mutant to stages, but for those that it is known to pass."""
    for stage in stages:
        if stage.name in passed:
            continue
        if not stage.paths:
            stage = stage._replace(paths=(own_tests(mutant.path),))
        with ONCE:
            require_tests_that_pass(context, stage)
        killer = first_failure(context, stage, mutant)
        if killer:
            return Result(mutant, stage.name, killer)
    return Result(mutant, "", SEPARATOR.join(stage.name for stage in stages))


class Known:
    """What earlier runs have found, kept in a file.

    Args:
        resume: Whether to read it. Else it is begun anew.
    """

    def __init__(self, resume):
        self.file = SCRATCH / "known.json"
        self.found = {}
        if resume and self.file.is_file():
            self.found = json.loads(self.file.read_text(encoding="utf-8"))

    def __contains__(self, mutant):
        return mutant.digest in self.found

    def killed(self, mutant):
        """The result, or `None` for a mutant that is new or has lived."""
        stage, killer = self.found.get(mutant.digest, ("", ""))
        return Result(mutant, stage, killer) if stage else None

    def passed(self, mutant):
        """The names of the stages that a mutant is known to pass."""
        stage, names = self.found.get(mutant.digest, ("", ""))
        return () if stage else names.split(SEPARATOR)

    def add(self, result):
        if result.stage == "equivalent":
            return
        self.found[result.mutant.digest] = result[1:]
        text = json.dumps(self.found, indent=1)
        self.file.write_text(text, encoding="utf-8")


# 3. The record.


def markdown_table(titles, rows):
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def counts(results, key, groups):
    """A row for each group: how many mutants ended where."""
    ends = [stage.name for stage in STAGES] + ["equivalent", ""]
    rows = []
    for group in groups:
        found = [r for r in results if group in ("all", key(r.mutant))]
        stages = collections.Counter(result.stage for result in found)
        rows.append([group, len(found), *(stages[end] for end in ends)])
    titles = ["", "mutants", *ends[:-1], "survived"]
    return markdown_table(titles, rows)


def record(results, total, stages):
    """What was found in the stages that were run, as Markdown."""
    operators = sorted({result.mutant.operator for result in results})
    survivors = [r.mutant.name for r in results if not r.stage]
    rest = ""
    if len(results) < total:
        rest = " They are a sample by name; the others were not run."
    text = [
        "# Mutants\n",
        "Written by `mutation.py`: what became of our modules,",
        "broken on purpose in one place at a time.\n",
        f"Run: {len(results)} of {total} mutants.{rest}",
        "One that passes the tests of a column goes on to the next.",
        *[f"**{stage.name} was not run.**" for stage in STAGES[len(stages) :]],
        "",
        counts(results, lambda mutant: mutant.path, [*MODULES, "all"]),
        "\nBy the kind of change:\n",
        counts(results, lambda mutant: mutant.operator, operators),
    ]
    equivalent = [r for r in results if r.stage == "equivalent"]
    if equivalent:
        text.append("\nEquivalent to the original, and why:\n")
    reasons = collections.defaultdict(list)
    for result in equivalent:
        reasons[result.killer].append(result.mutant.name)
    for reason, names in reasons.items():
        text.append(f"- {reason}")
        text += [f"  - `{' '.join(name.split())}`" for name in names]
    if survivors:
        text.append("\nSurvived:\n")
        text += [f"- `{' '.join(name.split())}`" for name in survivors]
    return "\n".join(text) + "\n"


def chosen(mutants, arguments, known):
    """The mutants to run: all, or some that are the same in each run."""
    if arguments.only:
        texts = arguments.only
        return [m for m in mutants if any(text in m.name for text in texts)]
    by_hand = {name for name, _, _ in BY_HAND}

    def is_chosen(mutant):
        number = zlib.crc32(mutant.name.encode())
        if number % arguments.every == 0 or mutant.operator in by_hand:
            return True
        # These are not run, or not again.
        return mutant.name in EQUIVALENT or mutant in known

    return [mutant for mutant in mutants if is_chosen(mutant)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TEXT",
        help="mutants whose name has a text in it",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="about one of N only"
    )
    parser.add_argument(
        "--modules", nargs="+", choices=MODULES, default=MODULES
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--stages", type=int, default=len(STAGES), help="the first ones only"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what earlier runs of the same sources have found",
    )
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    known = Known(arguments.resume)
    every_mutant = [m for path in arguments.modules for m in mutants_of(path)]
    mutants = chosen(every_mutant, arguments, known)
    if arguments.list:
        print("\n".join(mutant.name for mutant in mutants))
        return
    # Only needed, and only installed, where the tests are.
    from rich.console import Console
    from rich.progress import MofNCompleteColumn
    from rich.progress import Progress
    from rich.progress import TimeElapsedColumn

    stages = STAGES[: arguments.stages]
    # Unpacked here, lest each process does.
    checkout_finder.our_files()
    context = fork_server()
    console = Console()
    columns = MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(
        *Progress.get_default_columns(), *columns, console=console
    ) as progress:

        def run(mutant):
            if mutant.name in EQUIVALENT:
                return Result(mutant, "equivalent", EQUIVALENT[mutant.name])
            passed = known.passed(mutant)
            killed = known.killed(mutant)
            return killed or run_stages(context, mutant, stages, passed)

        results = []
        task = progress.add_task("mutants", total=len(mutants))
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for result in pool.map(run, mutants):
                results.append(result)
                if not arguments.only:
                    known.add(result)
                progress.advance(task)
                if not result.stage:
                    console.print("lives:", result.mutant.name, markup=False)
    text = record(results, len(every_mutant), stages)
    if arguments.only:
        console.print(text, markup=False)
    else:
        RECORD.write_text(text, encoding="utf-8")
    living = sum(not result.stage for result in results)
    console.print(f"{len(results)} mutants, {living} of them live.")
    sys.exit(1 if living or not results else 0)


if __name__ == "__main__":
    main()
