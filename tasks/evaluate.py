"""Stage evaluate: model and arrays → metrics and predictions.

`python -m tasks.evaluate --normalized data/normalized --weights data/efficientnet_lite0.sha256
--model models/classifier.keras --folds models/folds.npz --metrics reports/metrics.json
--predictions reports/predictions.npz`

No other stage scores on test. An image that a fold holds out is predicted by that fold's network. Everything is
measured in inference mode, in float32 and without augmentation.
RefusedError: damaged data, or a model that does not load in safe mode or does not fit the data.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.data import arrays
from tasks.device import runtime
from tasks.device.backend import keras
from tasks.metrics import scores
from tasks.metrics.predictions import NO_GROUPS, Predicted, Predictions, Probabilities, write_predictions
from tasks.metrics.summarize import describe_folds, summarize, to_json
from tasks.models import saved_model
from tasks.models.fold_weights import predict_split
from tasks.params import load_block
from tasks.params.evaluate import Evaluate
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

Split = tuple[arrays.Images, arrays.Labels]


def evaluate(
    *,
    normalized: Path,
    weights: Path,
    model_path: Path,
    folds_path: Path,
    metrics_path: Path,
    predictions_path: Path,
) -> command_line.RunInfo:
    """Score a model, and write metrics and predictions."""
    evaluate_params = load_block("evaluate", Evaluate)
    machine = runtime.prepare()
    print(machine)
    class_names = arrays.class_names(normalized)
    model = saved_model.load_model(model_path, arrays.image_shape(normalized), len(class_names))
    splits = {split: arrays.load_split(normalized, split, len(class_names)) for split in arrays.splits(normalized)}
    started = time.perf_counter()
    predicted = predict_splits(model, splits, normalized, folds_path, evaluate_params)
    seconds = time.perf_counter() - started
    held_out = arrays.held_out_split(normalized)
    metrics = compute_metrics(predicted, normalized, evaluate_params.headline)
    predictions = Predictions(
        y_true=predicted["test"].y_true,
        y_prob={split: y_prob for split, (_, y_prob) in predicted.items()},
        class_names=class_names,
        images=arrays.digests(normalized)[arrays.images_path(normalized, "test").name],
        n_parameters=model.count_params(),
        test_ids=arrays.test_ids(normalized),
        groups=arrays.groups(normalized, "test") if held_out == "test" else NO_GROUPS,
        second=ask_again(splits, held_out, weights) if evaluate_params.second_opinion else {},
    )
    with atomic_outputs(predictions_path, metrics_path) as (npz, json):
        write_predictions(npz, predictions)
        json.write_text(to_json(metrics), encoding="utf-8", newline="\n")
    return {
        "device": machine.device,
        "threads": machine.threads,
        "n_parameters": predictions.n_parameters,
        "n_bytes": model_path.stat().st_size,
        "milliseconds_per_image": round(1000 * seconds / sum(len(labels) for _, labels in splits.values()), 3),
    }


def compute_metrics(predicted: Mapping[str, Predicted], normalized: Path, headline: str) -> dict[str, Any]:
    """Compute the metrics of each split, and count what folds held out."""
    class_names, plan = arrays.class_names(normalized), arrays.folds(normalized)
    held_out = arrays.held_out_split(normalized)
    if plan is None or held_out is None:
        return summarize(predicted, class_names, headline)
    # Without a given test split, what the folds hold out is both: a study decides by it, and people read it.
    splits = {"train": predicted["train"], "validation": predicted[held_out], "test": predicted["test"]}
    groups, n_test = arrays.groups(normalized, held_out), len(predicted["test"].y_true)
    counts = describe_folds(plan.shape, groups, n_test if held_out == "validation" else 0)
    return {**summarize(splits, class_names, headline), **counts}


def ask_again(splits: Mapping[str, Split], held_out: str | None, weights: Path) -> Mapping[str, Probabilities]:
    """Compute a second opinion on each split's labels."""
    from tasks.pretrained.second_opinion import judge_images  # scikit-learn takes a second

    # With folds, the images of train are those of the held-out split once more.
    return judge_images({name: split for name, split in splits.items() if not held_out or name != "train"}, weights)


def predict_splits(
    model: keras.Model, splits: Mapping[str, Split], normalized: Path, folds_path: Path, evaluate_params: Evaluate
) -> dict[str, Predicted]:
    """Predict each split; what folds hold out, by their own networks."""
    how = evaluate_params.model_dump(include={"batch_size", "test_time_augmentation"})
    plan, held_out = arrays.folds(normalized), arrays.held_out_split(normalized)
    predicted: dict[str, Predicted] = {}
    for split, (images, y_true) in splits.items():
        y_prob = predict_split(model, normalized, split, images, folds_path, **how)
        by = f", over {plan.shape[1]} folds" if plan is not None and split == held_out else ""
        predicted[split] = Predicted(y_true, y_prob)
        accuracy, loss = scores.accuracy(y_true, y_prob), scores.loss(y_true, y_prob)
        print(f"evaluate: {split} accuracy {accuracy:.4f}, loss {loss:.4f}{by}")
    return predicted


if __name__ == "__main__":
    command_line.run(evaluate)
