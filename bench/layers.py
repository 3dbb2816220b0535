"""Time the convolutions of `fast` in Keras' form and ours, by pass.

`python -m bench.layers` prints the table of docs/speed.md: GFLOP/s, the fastest of some repetitions in turn, and what
share that is of the machine's own matrix product in the same type. Each pass is timed alone; what a training saves by
sharing work between them shows in the last column, which is of all three together.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.measure import cpu
from bench.recipes import blocks

VARIANT, BATCH = "fast", 512
IMAGE = 32, 32, 3
SQUARE = 2_048  # side of the matrices
REPETITIONS = 8
PASSES = "forward", "to images", "to weights", "all three"


class Layer(NamedTuple):
    """A 3 × 3 convolution of square images that keep their size."""

    side: int
    channels: int
    filters: int

    @property
    def operations(self) -> float:
        """Count the operations of one pass, zeros at the border included."""
        return 2.0 * 9 * self.channels * self.filters * self.side**2 * BATCH


def layers() -> list[Layer]:
    """Find the convolutions that learn, one of each shape."""
    from tasks.models.network import DataSpec, build

    params = blocks(VARIANT, {})
    network = build(params.model, params.regularize, DataSpec(IMAGE, 10, [0.0] * 3, [1.0] * 3))
    found = [layer for layer in network.layers if layer.name.startswith("conv")]
    return list(dict.fromkeys(Layer(layer.output.shape[1], *layer.kernel.shape[2:]) for layer in found))


def passes(layer: Layer, kind: Any, precision: str) -> dict[str, Callable[[], Any]]:
    """Compile the passes of a layer, over values that are drawn once."""
    import tensorflow as tf

    convolution = kind(layer.filters, 3, padding="same", use_bias=False, dtype=precision)
    images = tf.cast(tf.random.normal((BATCH, layer.side, layer.side, layer.channels)), precision)
    kernel = tf.cast(tf.random.normal((3, 3, layer.channels, layer.filters)), precision)
    upstream = tf.cast(tf.random.normal((BATCH, layer.side, layer.side, layer.filters)), precision)

    def forward() -> Any:
        return convolution.convolution_op(images, kernel)

    def gradients(*sources: Any) -> Callable[[], Any]:
        def compute() -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sources)
                outputs = forward()
            return outputs if len(sources) == 2 else (), tape.gradient(outputs, sources, upstream)

        return compute

    every = forward, gradients(images), gradients(kernel), gradients(images, kernel)
    return {name: tf.function(compute, autograph=False) for name, compute in zip(PASSES, every, strict=True)}


def product(precision: str) -> Callable[[], Any]:
    """Compile the machine's matrix product."""
    import tensorflow as tf

    first, second = (tf.cast(tf.random.normal((SQUARE, SQUARE)), precision) for _ in range(2))
    return tf.function(lambda: first @ second, autograph=False)  # type: ignore[no-any-return]


def fastest(calls: list[Callable[[], Any]]) -> list[float]:
    """Time calls in turn, and take the least of each, seconds."""
    best = [float("inf")] * len(calls)
    for repetition in range(1 + REPETITIONS):
        for number, call in enumerate(calls):
            started = time.perf_counter()
            call()
            if repetition:  # the first one compiles
                best[number] = min(best[number], time.perf_counter() - started)
    return best


def main() -> None:
    """Print the table."""
    from tasks.device import runtime

    train = blocks(VARIANT, {}).train
    runtime.prepare(train.device, train.threads, "float32", train.seed, deterministic=True)
    from tasks.models.network import FAST, KERAS_OWN

    print(f"{cpu()}, batch {BATCH}")
    print(f"| type | layer | {' | '.join(PASSES)} | share of a matrix product |\n|{' --- |' * (len(PASSES) + 3)}")
    for precision in ("bfloat16", "float32"):
        whole = 2.0 * SQUARE**3 / fastest([product(precision)])[0]
        for layer in layers():
            kinds = [passes(layer, kind, precision) for kind in (KERAS_OWN.convolution, FAST.convolution)]
            rates = []
            for name, times in zip(PASSES, (1, 1, 1, 3), strict=True):
                seconds = fastest([kind[name] for kind in kinds])
                rates.append([times * layer.operations / taken for taken in seconds])
            cells = [" → ".join(f"{rate / 1e9:,.0f}" for rate in pair) for pair in rates]
            share = " → ".join(f"{rate / whole:.0%}" for rate in rates[-1])
            size = f"{layer.channels} → {layer.filters} at {layer.side} × {layer.side}"
            print(f"| {precision} | {size} | {' | '.join(cells)} | {share} |", flush=True)
        print(f"the machine's matrix product in {precision}: {whole / 1e9:,.0f} GFLOP/s")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench.layers", description=(__doc__ or "").splitlines()[0]).parse_args()
    main()
