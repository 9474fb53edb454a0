"""Tests of how class weights are read, and of the labels that they are for."""

import types
from collections import defaultdict

import numpy as np
from absl.testing import parameterized

from keras.src import losses
from keras.src import ops
from keras.src import testing
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.trainers import class_weights
from keras.src.trainers.class_weights import ClassWeights

WEIGHTS = {0: 1.0, 1: 10.0}


def own_loss(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def model_of(loss="mse", **attributes):
    """What is looked up of a model."""
    compile_loss = loss and types.SimpleNamespace(_user_loss=loss)
    return types.SimpleNamespace(_compile_loss=compile_loss, **attributes)


class Weights:
    """A class of a user's, which gives a weight for each class index."""

    def get(self, index, default=None):
        return 0.5 * index


class ClassWeightsTest(testing.TestCase):
    def test_numbers(self):
        given = {
            0: 1,
            1.0: np.float32(2.5),
            np.int64(2): np.array(3),
            3: ops.convert_to_tensor(4.0),
        }
        weights = ClassWeights(given)
        self.assertIsInstance(weights, dict)
        self.assertEqual(dict(weights), {0: 1.0, 1: 2.5, 2: 3.0, 3: 4.0})
        self.assertEqual({type(key) for key in weights}, {int})
        self.assertEqual({type(value) for value in weights.values()}, {float})
        self.assertIsNone(weights.output_shape)

    def test_digits(self):
        """As they come from JSON; the base release reads them for `tf.data`."""
        weights = ClassWeights({"0": 1, "1": "2.5"})
        self.assertEqual(dict(weights), {0: 1.0, 1: 2.5})
        found = [weights.get(index, 7.0) for index in range(3)]
        self.assertEqual(found, [1.0, 2.5, 7.0])

    def test_what_the_user_gave_is_asked(self):
        default = ClassWeights(defaultdict(lambda: 7.0, {0: 2.0}))
        for weights, expected in (
            (ClassWeights({0: 2.0}), [2.0, 1.0]),
            # As `dict.get` does, whatever `[...]` would do.
            (default, [2.0, 1.0]),
            (ClassWeights(Weights()), [0.0, 0.5]),
        ):
            found = [weights.get(index, 1.0) for index in (0, 1)]
            self.assertEqual(found, expected)
        self.assertEmpty(ClassWeights(Weights()))
        self.assertIsNone(ClassWeights({}).get(0))

    @parameterized.parameters(
        ([1.0, 2.0], "It is of type <class 'list'>."),
        ("balanced", "It is of type <class 'str'>."),
        ({"a": 1.0}, "'a' is no class index."),
        ({None: 1.0}, "None is no class index."),
        ({0.5: 1.0}, "0.5 is no class index."),
        ({"0.5": 1.0}, "'0.5' is no class index."),
        ({0: 1.0, 1: "b"}, "What stands for the class 1 is no number."),
        ({0: None}, "What stands for the class 0 is no number."),
        ({0: {0: 1.0}}, "What stands for the class 0 is no number."),
        ({0: np.ones(1)}, "What stands for the class 0 is no number."),
    )
    def test_refusals(self, given, problem):
        with self.assertRaises(ValueError) as caught:
            ClassWeights(given)
        first, received, expected = str(caught.exception).split("\n")
        self.assertEqual(first, f"Invalid `class_weight`. {problem}")
        self.assertStartsWith(received, "Received: class_weight=")
        self.assertStartsWith(
            expected, "Expected a dict-like mapping with integer"
        )

    def test_a_tensor_of_one_number_is_no_number(self):
        with self.assertRaisesRegex(ValueError, "the class 0 is no number"):
            ClassWeights({0: ops.ones((1,))})

    @parameterized.parameters(
        # The shapes of labels and of the output.
        ((2, 5), (2, 5, 3), True),
        ((2, 5), (None, 5, 3), True),
        ((2, 5), (None, None, 3), True),
        ((None, 5), (2, 5, 3), True),
        ((2, 4, 5), (None, 4, 5, 3), True),
        # With an axis of size 1, they are told apart without this.
        ((2, 5, 1), (None, 5, 3), False),
        ((2, 5), (None, 4, 3), False),
        ((3, 5), (2, 5, 3), False),
        # A class for each sample, and a vector of classes.
        ((2,), (2, 3), False),
        ((2, 3), (2, 3), False),
        ((2, 5, 3), (None, 5, 3), False),
        ((2, 5), None, False),
    )
    def test_labels_of_positions(self, labels, output, expected):
        weights = ClassWeights(WEIGHTS, output)
        self.assertIs(weights.are_indices(KerasTensor(labels)), expected)

    def test_labels_of_unknown_rank(self):
        class Unknown:
            rank = None

        labels = types.SimpleNamespace(shape=Unknown())
        self.assertFalse(ClassWeights(WEIGHTS, (2, 5, 3)).are_indices(labels))
        labels.shape = (2, 5)
        self.assertFalse(ClassWeights(WEIGHTS, None).are_indices(labels))


class ReadForTest(testing.TestCase):
    def read(self, model, class_weight=WEIGHTS):
        """The shape that is read, and whether a batch is to be checked."""
        with class_weights.read_for(model, class_weight) as weights:
            self.assertEqual(weights, class_weight)
            is_to_check = getattr(model, "_is_to_check_class_weight", False)
        self.assertFalse(getattr(model, "_is_to_check_class_weight", False))
        return weights.output_shape, is_to_check

    def test_without_class_weights(self):
        model = model_of()
        with class_weights.read_for(model, None) as weights:
            self.assertIsNone(weights)
        self.assertFalse(hasattr(model, "_is_to_check_class_weight"))

    def test_the_model_tells(self):
        output = KerasTensor((None, 5, 3))
        for outputs in (output, [output], {"a": output}):
            found = self.read(model_of(outputs=outputs))
            self.assertEqual(found, ((None, 5, 3), False))

    def test_a_checked_batch_tells(self):
        model = model_of(_checked_output_shape=(None, None, 3))
        self.assertEqual(self.read(model), ((None, None, 3), False))

    def test_nothing_tells(self):
        two = [KerasTensor((None, 5, 3))] * 2
        for model in (
            model_of(),
            model_of(outputs=None),
            model_of(outputs=[None]),
            model_of(outputs=two),
        ):
            self.assertEqual(self.read(model), (None, True))

    @parameterized.named_parameters(
        ("name", "mse", True),
        ("name_by_shape", "ce", True),
        ("function", losses.mean_squared_error, True),
        ("object", losses.MeanSquaredError(), True),
        ("config", losses.serialize(losses.Huber(delta=2.0)), True),
        ("several", {"a": "mse", "b": None}, True),
        ("own", own_loss, False),
        ("one_of_several", ["mse", own_loss], False),
        ("not_compiled", None, False),
    )
    def test_only_losses_of_keras_own_are_looked_at(self, loss, is_own):
        model = model_of(loss, outputs=[KerasTensor((None, 5, 3))])
        shape = (None, 5, 3) if is_own else None
        self.assertEqual(self.read(model), (shape, False))
        self.assertEqual(self.read(model_of(loss)), (None, is_own))

    def test_checks_end_with_the_call(self):
        model = model_of()
        with self.assertRaises(ArithmeticError):
            with class_weights.read_for(model, WEIGHTS):
                self.assertTrue(model._is_to_check_class_weight)
                raise ArithmeticError
        self.assertFalse(model._is_to_check_class_weight)

    def test_a_refusal_comes_first(self):
        model = model_of()
        with self.assertRaisesRegex(ValueError, "class_weight"):
            with class_weights.read_for(model, {"a": 1.0}):
                pass
        self.assertFalse(hasattr(model, "_is_to_check_class_weight"))


class CheckTest(testing.TestCase):
    def test_class_indices_read_as_vectors(self):
        model = model_of()
        with class_weights.read_for(model, WEIGHTS):
            with self.assertRaises(ValueError) as caught:
                class_weights.check(
                    model, np.zeros((2, 5)), np.zeros((2, 5, 3))
                )
        text = str(caught.exception)
        self.assertIn("labels of shape (2, 5) for an output of", text)
        self.assertIn("shape (2, 5, 3)", text)
        self.assertIn("Expected labels of shape (2, 5, 1)", text)

    @parameterized.parameters(
        # Labels and predictions that are what they were taken for.
        ((2, 3), (2, 3)),
        ((2,), (2, 3)),
        ((2, 5, 3), (2, 5, 3)),
        ((2, 5, 1), (2, 5, 3)),
        # A single position: either way it is the same class.
        ((2, 1), (2, 1, 3)),
        ((2, 4), (2, 5, 3)),
    )
    def test_what_was_read_well(self, labels, predictions):
        model = model_of()
        with class_weights.read_for(model, WEIGHTS):
            class_weights.check(model, np.zeros(labels), np.zeros(predictions))
        # Other batches may have other sizes, but for the classes.
        expected = (None,) * (len(predictions) - 1) + (predictions[-1],)
        self.assertEqual(model._checked_output_shape, expected)
        class_weights.check(model, np.zeros((2, 7)), np.zeros((2, 7)))
        self.assertEqual(model._checked_output_shape, expected)
        with class_weights.read_for(model, WEIGHTS) as weights:
            self.assertEqual(weights.output_shape, expected)

    def test_without_class_weights_the_shape_is_noted(self):
        model = model_of()
        labels, predictions = np.zeros((2, 5)), np.zeros((2, 5, 3))
        class_weights.check(model, labels, predictions)
        self.assertEqual(model._checked_output_shape, (None, None, 3))
        with class_weights.read_for(model, WEIGHTS) as weights:
            self.assertTrue(weights.are_indices(labels))
            class_weights.check(model, labels, predictions)

    def test_several_outputs_tell_nothing(self):
        model = model_of()
        y = [np.zeros((2, 5))] * 2, [np.zeros((2, 5, 3))] * 2
        class_weights.check(model, *y)
        self.assertEqual(model._checked_output_shape, ())

    def test_labels_in_a_container(self):
        model = model_of()
        with class_weights.read_for(model, WEIGHTS):
            with self.assertRaisesRegex(ValueError, "`class_weight`"):
                y_pred = {"a": np.zeros((2, 5, 3))}
                class_weights.check(model, [np.zeros((2, 5))], y_pred)
