"""Stage evaluate: model and arrays → metrics and predictions.

`python -m tasks.evaluate --normalized data/normalized --model models/classifier.keras
--metrics reports/metrics.json --predictions reports/predictions.npz`

The only step that scores on test, and after training the only one that loads the model: stage report draws and lists
what follows from the predictions. Everything is measured in inference mode, in float32 and without augmentation.
RefusedError: a model that needs code to load, or that does not fit the data.
"""

from __future__ import annotations

import time
from pathlib import Path

from tasks import arrays, predictions, runtime, saved_model, step
from tasks.core import metrics, scores
from tasks.core.headline import Predicted
from tasks.core.inference import predict
from tasks.core.rounding import to_json
from tasks.outputs import atomic_outputs
from tasks.params import read
from tasks.params.evaluate import Evaluate


def evaluate(*, normalized: Path, model_path: Path, metrics_path: Path, predictions_path: Path) -> step.RunInfo:
    """Score a model, and write metrics and predictions.

    Raises
    ------
    tasks.step.RefusedError
        If the data is damaged, or the model cannot be loaded in safe mode or has another number of classes.
    """
    evaluate_params = read("evaluate", Evaluate)
    machine = runtime.prepare()
    print(machine)
    class_names = arrays.class_names(normalized)
    model = saved_model.load(model_path, arrays.image_shape(normalized), len(class_names))
    splits = {split: arrays.load_split(normalized, split, len(class_names)) for split in arrays.splits(normalized)}
    predicted: dict[str, Predicted] = {}
    started = time.perf_counter()
    for split, (images, y_true) in splits.items():
        y_prob = predict(model, images, evaluate_params.batch_size, evaluate_params.test_time_augmentation)
        predicted[split] = Predicted(y_true, y_prob)
        accuracy, loss = scores.accuracy(y_true, y_prob), scores.loss(y_true, y_prob)
        print(f"evaluate: {split} accuracy {accuracy:.4f}, loss {loss:.4f}")

    seconds = time.perf_counter() - started
    summary = metrics.summarize(predicted, class_names, evaluate_params.headline)
    images_digest = arrays.digests(normalized)[arrays.images_path(normalized, "test").name]
    n_parameters = model.count_params()
    with atomic_outputs(predictions_path, metrics_path) as (npz, json):
        predictions.write(npz, predicted, class_names, images_digest, n_parameters)
        json.write_text(to_json(summary), encoding="utf-8", newline="\n")
    n_images = sum(len(labels) for _, labels in splits.values())
    return {
        "device": machine.device,
        "threads": machine.threads,
        "n_parameters": n_parameters,
        "n_bytes": model_path.stat().st_size,
        "milliseconds_per_image": round(1000 * seconds / n_images, 3),
    }


if __name__ == "__main__":
    step.run(evaluate)
