"""Optimizers and learning-rate schedules, from block `train`."""

from typing import Any

import keras
from keras import ops

from tasks.params.train import Train

NEWTON_SCHULZ_STEPS = 3  # more steps do not improve the results
NEWTON_SCHULZ = 3.4445, -4.775, 2.0315  # Jordan's, with the largest slope at 0


def make_optimizer(train_params: Train, weight_decay: float, steps: int) -> keras.optimizers.Optimizer:
    """Make the optimizer, with decoupled weight decay on kernels alone.

    See Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. `sgd` and `adamw` multiply `weight_decay` by the
    learning rate, the others ignore it. `steps` counts the updates of the whole training.
    """
    momentum, decay = train_params.momentum, weight_decay or None
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "sgd": (keras.optimizers.SGD, {"momentum": momentum, "nesterov": momentum > 0, "weight_decay": decay}),
        "muon": (Muon, {"momentum": momentum, "adam_rate": train_params.adam_rate}),
        "adamw": (keras.optimizers.AdamW, {"weight_decay": weight_decay}),
        "adam": (keras.optimizers.Adam, {}),
    }
    kind, settings = kinds[train_params.optimizer]
    if train_params.backbone_rate != 1:
        kind = with_backbone_rate(kind, train_params.backbone_rate)
    optimizer: keras.optimizers.Optimizer = kind(make_schedule(train_params, steps), **settings)
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def with_backbone_rate(
    kind: type[keras.optimizers.Optimizer], backbone_rate: float
) -> type[keras.optimizers.Optimizer]:
    """Derive an optimizer with lower rates and decay outside the logits.

    Pretrained weights need smaller steps than new logits. Both follow one schedule.
    """

    class WithBackboneRate(kind):  # type: ignore[misc]
        weight_decay: float | None

        def build(self, variables: list[keras.Variable]) -> None:
            super().build(variables)
            self.factors = [1.0 if "logits" in variable.path.split("/") else backbone_rate for variable in variables]

        def _factor(self, variable: Any) -> float:
            factor: float = self.factors[self._get_variable_index(variable)]
            return factor

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * self._factor(variable))

        def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
            decay = self.weight_decay
            for variable in variables:
                self.weight_decay = decay and decay * self._factor(variable)
                super()._apply_weight_decay([variable])
            self.weight_decay = decay

    return WithBackboneRate


class Muon(keras.optimizers.Adam):  # type: ignore[misc]
    """Muon for convolution kernels, Adam for the other variables.

    After K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024,
    https://kellerjordan.github.io/posts/muon) and his record on CIFAR-10. Keras' own Muon leaves kernels of four
    dimensions to AdamW; here a kernel is a matrix with a row for each value of a patch and a column for each filter.
    Before each update, filters are scaled to norms with a root mean square of 1, so that a rate always means the same
    angle, and weight decay of kernels would have no effect. Each convolution needs a following normalization, which
    makes the kernel's norm irrelevant. The learning rate gives the singular values of a kernel's update; those of a
    kernel are about 1. `adam_rate` times the learning rate is that of the other variables.
    """

    def __init__(self, *args: Any, momentum: float, adam_rate: float, **kwargs: Any):
        super().__init__(*args, beta_1=0.85, beta_2=0.95, **kwargs)
        self.momentum, self.adam_rate = momentum, adam_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if len(variable.shape) != 4:
            super().update_step(gradient, variable, learning_rate * self.adam_rate)
            return
        velocity = self._momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        direction = gradient + self.momentum * velocity  # Nesterov
        kernel = variable * ops.sqrt(variable.shape[-1] / ops.sum(ops.square(variable)))
        self.assign(variable, kernel - learning_rate * orthogonalize(direction))


def orthogonalize(kernel: Any) -> Any:
    """Bring the singular values of a kernel near 1, by Newton–Schulz.

    X ← aX + bXXᵀX + cXXᵀXXᵀX with Jordan's constants, after which all but the smallest lie between about
    0.6 and 1.2. All steps multiply X from the right by polynomials of XᵀX, the smaller matrix that they compute on.
    `kernel` has the shape (height, width, inputs, filters).
    """
    matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
    is_wide = matrix.shape[0] < matrix.shape[1]
    if is_wide:
        matrix = ops.transpose(matrix)
    matrix = matrix / (ops.norm(matrix) + 1e-7)
    gram, identity = ops.transpose(matrix) @ matrix, ops.eye(matrix.shape[1])
    product, (a, b, c) = identity, NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        factor = a * identity + b * gram + c * gram @ gram
        product, gram = product @ factor, factor @ gram @ factor
    matrix = matrix @ product
    return ops.reshape(ops.transpose(matrix) if is_wide else matrix, kernel.shape)


def make_schedule(train_params: Train, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Make the learning rate, or its schedule over `steps` updates."""
    if train_params.schedule == "constant":
        return train_params.learning_rate
    warmup_steps = round(train_params.warmup * steps)
    if train_params.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            train_params.learning_rate if not warmup_steps else 0.0,
            decay_steps=max(steps - warmup_steps, 1),
            warmup_target=train_params.learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    return OneCycle(train_params.learning_rate, steps, warmup_steps)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate that rises linearly to its peak, then falls to zero.

    See Smith 2018, https://arxiv.org/abs/1803.09820. `steps` counts all updates, `warmup_steps` those that rise.
    """

    def __init__(self, peak: float, steps: int, warmup_steps: int):
        self.peak, self.steps, self.warmup_steps = peak, steps, warmup_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = (step + 1) / max(self.warmup_steps, 1)
        fall = (self.steps - step) / max(self.steps - self.warmup_steps, 1)
        return self.peak * ops.clip(ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps}
