"""Batch normalization on TensorFlow's fused kernel, equal to Keras' own layer.

Keras composes the layer from means, variances and arithmetic, in float32 even under a bfloat16 policy. The fused kernel
makes one pass forward and one backward, and reads bfloat16. On other backends this is Keras' layer, unchanged.
"""

from typing import Any

import keras


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalization of 4-D tensors with the kernel `FusedBatchNormV3`."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        is_training = bool(training and self.trainable)
        ones, zeros = tf.ones_like(self.moving_variance), tf.zeros_like(self.moving_mean)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else ones,
            offset=tf.convert_to_tensor(self.beta) if self.center else zeros,
            mean=tf.zeros([0]) if is_training else tf.convert_to_tensor(self.moving_mean),
            variance=tf.zeros([0]) if is_training else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if is_training:
            # The kernel reports the unbiased variance; Keras keeps the biased one.
            n = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
            old, new = self.momentum, 1 - self.momentum
            self.moving_mean.assign(self.moving_mean * old + mean * new)
            self.moving_variance.assign(self.moving_variance * old + variance * ((n - 1) / n) * new)
        return outputs
