"""Optimizers and learning-rate schedules, from block `train`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tasks.params.train import Train


def optimizer(train_params: Train, weight_decay: float, steps: int) -> keras.optimizers.Optimizer:
    """Make the optimizer, with decoupled weight decay on kernels alone.

    See Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. Biases and normalization do not decay.

    Parameters
    ----------
    train_params : Train
    weight_decay : float
        × learning rate per update; `adam` ignores it.
    steps : int
        All updates of the training.
    """
    rate = learning_rate(train_params, steps)
    decay = weight_decay or None
    kinds = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam}
    kind = kinds[train_params.optimizer]
    if train_params.backbone_rate != 1:
        kind = with_backbone_rate(kind, train_params.backbone_rate)
    made: keras.optimizers.Optimizer
    if train_params.optimizer == "sgd":
        momentum = train_params.momentum
        made = kind(rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay)
    elif train_params.optimizer == "adamw":
        made = kind(rate, weight_decay=weight_decay)
    else:
        made = kind(rate)
    if decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def with_backbone_rate(
    kind: type[keras.optimizers.Optimizer], backbone_rate: float
) -> type[keras.optimizers.Optimizer]:
    """Derive an optimizer that multiplies the rate of every layer but the logits, and its weight decay.

    Weights that were trained before need smaller steps than a head that was not. The schedule stays one for all.
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


def learning_rate(train_params: Train, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Make the schedule over all `steps` updates, of which the share `warmup` rises to the peak."""
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
    """Raise the rate straight to the peak, then lower it straight to zero.

    See Smith 2018, https://arxiv.org/abs/1803.09820.

    Parameters
    ----------
    peak : float
    steps, warmup_steps : int
        All updates, and how many of them rise.
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
