"""Stage evaluate: model and arrays → metrics and predictions.

`python -m tasks.evaluate --normalized data/normalized --model models/classifier.keras
--metrics reports/metrics.json --predictions reports/predictions.npz`

No other stage scores on test. Everything is measured in inference mode, in float32 and without augmentation.
RefusedError: damaged data, or a model that does not load in safe mode or does not fit the data.
"""

import time
from pathlib import Path

from tasks.data import arrays
from tasks.device import runtime
from tasks.metrics import scores
from tasks.metrics.predictions import Predicted, Predictions, write_predictions
from tasks.metrics.summarize import summarize, to_json
from tasks.models import saved_model
from tasks.models.inference import predict
from tasks.params import load_block
from tasks.params.evaluate import Evaluate
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs


def evaluate(*, normalized: Path, model_path: Path, metrics_path: Path, predictions_path: Path) -> command_line.RunInfo:
    """Score a model, and write metrics and predictions."""
    evaluate_params = load_block("evaluate", Evaluate)
    machine = runtime.prepare()
    print(machine)
    class_names = arrays.class_names(normalized)
    model = saved_model.load_model(model_path, arrays.image_shape(normalized), len(class_names))
    splits = {split: arrays.load_split(normalized, split, len(class_names)) for split in arrays.splits(normalized)}
    predicted: dict[str, Predicted] = {}
    started = time.perf_counter()
    for split, (images, y_true) in splits.items():
        y_prob = predict(model, images, evaluate_params.batch_size, evaluate_params.test_time_augmentation)
        predicted[split] = Predicted(y_true, y_prob)
        accuracy, loss = scores.accuracy(y_true, y_prob), scores.loss(y_true, y_prob)
        print(f"evaluate: {split} accuracy {accuracy:.4f}, loss {loss:.4f}")

    seconds = time.perf_counter() - started
    metrics = summarize(predicted, class_names, evaluate_params.headline)
    predictions = Predictions(
        y_true=predicted["test"].y_true,
        y_prob={split: y_prob for split, (_, y_prob) in predicted.items()},
        class_names=class_names,
        images=arrays.digests(normalized)[arrays.images_path(normalized, "test").name],
        n_parameters=model.count_params(),
        test_ids=arrays.test_ids(normalized),
    )
    with atomic_outputs(predictions_path, metrics_path) as (npz, json):
        write_predictions(npz, predictions)
        json.write_text(to_json(metrics), encoding="utf-8", newline="\n")
    n_images = sum(len(labels) for _, labels in splits.values())
    return {
        "device": machine.device,
        "threads": machine.threads,
        "n_parameters": predictions.n_parameters,
        "n_bytes": model_path.stat().st_size,
        "milliseconds_per_image": round(1000 * seconds / n_images, 3),
    }


if __name__ == "__main__":
    command_line.run(evaluate)
