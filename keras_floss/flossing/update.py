"""An optimiser step that is left out where it would do harm."""

import keras
import tensorflow as tf

from keras_floss.flossing.term import Pass
from keras_floss.utils.custom_gradient import tie_gradients


def iterations(optimizer: keras.optimizers.Optimizer | None) -> int:
    """The number of updates that an optimiser has made; of None, 0."""
    # `int(...)` alone fails for a variable of a distribution strategy.
    return 0 if optimizer is None else int(optimizer.iterations.numpy())


def apply_if_finite(
    optimizer: keras.optimizers.Optimizer, result: Pass, variables: list[keras.Variable]
) -> tf.Tensor:
    """Applies the gradients of a `Pass` if they and the loss are finite, on every replica.

    The loss is ∞ where no direction is left in a layer. If it or a gradient is not finite,
    variables and optimiser stay as they are. Returns a boolean scalar: whether
    they were applied.
    """
    finite, gradients = result.finite(), result.gradients
    context = tf.distribute.get_replica_context()

    # Flossing is never done in half precision, so that its loss needs no scaling.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)

    def apply(gradients):
        # Keras divides by the `loss_scale_factor` of the optimiser, where it has one.
        optimizer.apply([optimizer.scale_loss(g) for g in gradients], variables)
        tie_gradients()  # Keras sums over replicas, which has a gradient
        return True

    if context.num_replicas_in_sync == 1:
        return tf.cond(finite, lambda: apply(gradients), lambda: False)

    # Replicas meet when gradients are summed, which they cannot do inside a branch: so
    # branch where they have met, and part again inside the branch.
    finite = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.int32)) == 0

    def met(strategy, finite, gradients):
        def part():
            strategy.extended.call_for_each_replica(apply, args=(gradients,))
            return True

        tf.cond(strategy.experimental_local_results(finite)[0], part, lambda: False)

    context.merge_call(met, args=(finite, gradients))
    return finite
