"""The rules that join blocks, for the file and stage train."""

from tasks.params import ParameterError
from tasks.params.model import Model
from tasks.params.regularize import Regularize
from tasks.params.train import Train

WITHOUT_DECAY = {
    "adam": "adamw is Adam with decoupled weight decay",
    "muon": "it scales each kernel to one norm, whatever decays it",
}


def check_joint_rules(model: Model, regularize: Regularize, train: Train, has_validation: bool, where: str) -> None:
    """Raise ParameterError, which `where` opens, for the first broken rule."""
    patience, weight_decay = regularize.early_stopping.patience, regularize.weight_decay
    if patience > 0 and not has_validation:
        raise ParameterError(
            f"{where}: regularize.early_stopping.patience: must be 0 without a validation split, which early stopping "
            f"watches; received {patience}; set it to 0, or raise normalize.validation_fraction"
        )
    if weight_decay > 0 and (reason := WITHOUT_DECAY.get(train.optimizer)):
        raise ParameterError(
            f"{where}: regularize.weight_decay: must be 0 with train.optimizer {train.optimizer}: {reason}; "
            f"received {weight_decay}; set train.optimizer to sgd or adamw"
        )
    trains_a_backbone = model.is_pretrained and model.trainable == "all"
    if train.optimizer == "muon" and (trains_a_backbone or not regularize.batch_norm):
        raise ParameterError(
            f"{where}: train.optimizer: must not be muon where a pretrained network is trained, or without "
            "regularize.batch_norm: muon rescales each kernel, which is harmless only in front of batch normalization; "
            f"received muon with {model.network}; set it to sgd or adamw"
        )
