"""One epoch: stock Keras, PyTorch, and this project.

Each side is at its best where a ratio says so: every setting of it is timed once, on few images, and the best runs
again in turn with the others.
"""

from collections.abc import Iterable

from bench.measure import Found, compare, has_package, interleaved, ratio, run, runs_of, side
from tasks.device.cpu import has_bfloat16

BATCHES = (64, 128, 256, 512)
LARGE = BATCHES[1:]  # beside PyTorch, where nobody is fastest with the smallest
FEW = 5_000  # images of an epoch that only chooses a setting

Settings = dict[str, int]
Timed = list[tuple[Settings, float]]


def epochs(rounds: int = 3) -> list[Found]:
    """Time an epoch of stock Keras and ours; determinism, too."""
    batches = [{"batch": batch} for batch in BATCHES]
    stock_best, ours_best = (fastest(timed_once(name, batches)) for name in ("stock", "ours"))
    found = interleaved(
        {
            "stock 64": side("stock"),
            "ours 64": side("ours"),
            "stock best": side("stock", **stock_best),
            "ours best": side("ours", **ours_best),
            "default": side("default"),
            "default, not deterministic": side("default", deterministic=0),
        },
        rounds,
    )
    return [
        ratio(
            "one epoch, identical network, batch 64: stock Keras / ours",
            1.7,
            runs_of(found["stock 64"], "stock Keras, batch 64"),
            runs_of(found["ours 64"], "ours, batch 64"),
        ),
        ratio(
            "one epoch, identical network: stock Keras at its best batch / ours at its best",
            2.0,
            runs_of(found["stock best"], f"stock Keras, batch {stock_best['batch']}"),
            runs_of(found["ours best"], f"ours, batch {ours_best['batch']}"),
        ),
        ratio(
            "one epoch of the default: deterministic / not",
            1.05,
            runs_of(found["default"], "deterministic: true"),
            runs_of(found["default, not deterministic"], "deterministic: false"),
            "lower",
        ),
    ]


def epochs_pytorch(rounds: int = 3) -> list[Found]:
    """Time an epoch of PyTorch and ours, at best and in float32."""
    if not has_package("epochs in PyTorch"):
        return []
    # Without the hardware, bfloat16 takes ten times as long.
    precisions = (1, 0) if has_bfloat16("tensorflow") else (0,)
    forms = (0, 1) if _compiles() else (0,)
    settings = [{"batch": batch, "bfloat16": bfloat16} for batch in LARGE for bfloat16 in precisions]
    torch = timed_once("torch", [one | {"compiled": compiled} for one in settings for compiled in forms])
    ours = timed_once("ours", settings)
    best = {1: (fastest(torch), fastest(ours, bfloat16=1))} if 1 in precisions else {}
    best[0] = (fastest(torch, bfloat16=0), fastest(ours, bfloat16=0))
    sides: dict[tuple[str, int], Settings] = {}
    for bfloat16, (of_torch, of_ours) in best.items():
        sides |= {("torch", bfloat16): of_torch, ("ours", bfloat16): of_ours}
    found = interleaved({key: side(key[0], **chosen) for key, chosen in sides.items()}, rounds)
    names = {1: ("one epoch, identical network", 1.8), 0: ("one epoch, identical network, float32", 1.5)}
    return [
        ratio(
            f"{names[bfloat16][0]}: PyTorch at its best / ours at its best",
            names[bfloat16][1],
            runs_of(found["torch", bfloat16], _label("PyTorch", of_torch)),
            runs_of(found["ours", bfloat16], _label("ours", of_ours)),
        )
        for bfloat16, (of_torch, of_ours) in best.items()
    ]


def timed_once(name: str, every: Iterable[Settings]) -> Timed:
    """Time a side once with each of some settings."""
    return [(settings, run(side(name, **settings, images=FEW))["seconds"]) for settings in every]


def fastest(timed: Timed, **fixed: int) -> Settings:
    """Choose the fastest settings of a side that match the given ones."""
    chosen, _ = min((one for one in timed if fixed.items() <= one[0].items()), key=lambda one: one[1])
    return chosen


def _compiles() -> bool:
    """Check for the C++ compiler that torch.compile needs."""
    try:
        run(side("torch", compiled=1, images=512))
    except SystemExit as error:
        print(f"compiled PyTorch: left out, as it fails here: {str(error).splitlines()[-2]}")
        return False
    return True


def _label(who: str, settings: Settings) -> str:
    """Describe a side with its settings."""
    precision = "bfloat16" if settings["bfloat16"] else "float32"
    form = {0: ", eager", 1: ", compiled"}[settings["compiled"]] if "compiled" in settings else ""
    return f"{who}, batch {settings['batch']}, {precision}{form}"


def epochs_before(rounds: int = 3) -> list[Found]:
    """Time an epoch of `fast` with Keras' convolutions and with ours."""
    sides = {"keras.layers.Conv2D": side("fast", own_convolution=0), "ours": side("fast")}
    return [compare("one epoch of fast: with Keras' own convolution / with ours", 1.4, sides, rounds)]
