"""Review doubtful labels in a page; the next run uses the decisions.

`python -m tasks.review [--serve] [--cards N]`

Writes reports/review.html, one file that opens from disk; its button saves corrections.csv. With `--serve` the page is
served on this machine as well, and each decision is written to data/corrections.csv at once.
"""

import argparse
import getpass
import hashlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks import errors
from tasks.data import arrays
from tasks.datasets.corrections import Correction, corrections_path, read_corrections
from tasks.device import runtime
from tasks.metrics.predictions import read_predictions
from tasks.models import saved_model
from tasks.params import ParameterError, parse
from tasks.reviewing.cards import ReviewData, list_doubts, make_cards
from tasks.run.outputs import atomic_outputs

PAGE, PORT = Path("reports/review.html"), 8642


@dataclass(frozen=True)
class Review:
    """What the page shows."""

    content: dict[str, Any]

    def render(self, address: str = "") -> str:
        """Render the page, which may send decisions to an address."""
        path, environment = (
            corrections_path(),
            Environment(loader=PackageLoader("tasks.reviewing", "."), autoescape=True, undefined=StrictUndefined),
        )
        lines = [line._asdict() for line in read_corrections(path).values()]
        data = {**self.content, "lines": lines, "address": address, "path": str(path)}
        return environment.get_template("review.html").render(data=data, address=address, path=path)


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or serve it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tasks.review", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="serve the page here, and save each decision at once")
    # One port, as a browser keeps what an ended server did not get by the address without its token.
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"of --serve, default {PORT}")
    parser.add_argument("--cards", type=int, default=1_000, metavar="N", help="show the N most doubtful, default 1,000")
    args = parser.parse_args(arguments)
    try:
        review = make_review(args.cards)
        with atomic_outputs(PAGE) as (page,):
            page.write_text(review.render(), encoding="utf-8", newline="\n")
        print(f"{len(review.content['cards']):,} cards; open {PAGE}")
        if args.serve:
            from tasks.reviewing.server import serve  # FastAPI takes a second

            with suppress(KeyboardInterrupt):
                serve(review.render, corrections_path(), args.port)
        return 0
    except FileNotFoundError as error:
        print(f"error: {error.filename} must exist; `dvc repro` makes it", file=sys.stderr)
    except (errors.RefusedError, ParameterError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return errors.RefusedError.status


def make_review(n_cards: int) -> Review:
    """Make the cards of what is doubted, with images that are near."""
    runtime.prepare("cpu")  # some seconds for most networks
    paths = {name: Path(block["path"]) for name, block in parse(Path("dvc.yaml"))["artifacts"].items()}
    normalized = paths["arrays"]
    corrections = read_corrections(corrections_path()).values()
    data = ReviewData(normalized, read_predictions(paths["predictions"], arrays.splits(normalized)).y_prob, corrections)
    doubts = list(list_doubts(data, paths["label_issues"], arrays.findings(normalized)))
    model = saved_model.load_model(paths["classifier"], arrays.image_shape(normalized), len(data.class_names))
    return Review(
        {
            "project": hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[
                :16
            ],  # browsers keep pages of disk together
            "classes": data.class_names,
            "splits": data.splits,
            "fields": list(Correction._fields),
            "by": _user(),
            "cards": list(make_cards(data, doubts[:n_cards], model)),
            "more": max(len(doubts) - n_cards, 0),
        }
    )


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        return getpass.getuser()
    return ""


if __name__ == "__main__":
    sys.exit(main())
