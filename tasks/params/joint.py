"""The rules that join blocks, for the file and stage train."""

from tasks.params import ParameterError
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train


def check_joint_rules(model: Model, regularize: Regularize, train: Train, has_validation: bool, where: str) -> None:
    """Raise ParameterError, which `where` opens, for the first broken rule."""
    patience, weight_decay = regularize.early_stopping.patience, regularize.weight_decay
    if patience > 0 and not has_validation:
        raise ParameterError(
            f"{where}: regularize.early_stopping.patience: must be 0 without a validation split, which early stopping "
            f"watches; received {patience}; set it to 0, or raise normalize.validation_fraction"
        )
    if weight_decay > 0 and train.optimizer == "adam":
        raise ParameterError(
            f"{where}: regularize.weight_decay: must be 0 with train.optimizer adam: adamw is Adam with decoupled "
            f"weight decay; received {weight_decay}"
        )
    if train.optimizer == "muon" and (model.is_pretrained or not regularize.batch_norm):
        raise ParameterError(
            f"{where}: train.optimizer: must not be muon with a pretrained network or without regularize.batch_norm: "
            "muon rescales each kernel, which is harmless only in front of batch normalization; "
            f"received muon with {model.network}; set it to sgd"
        )
