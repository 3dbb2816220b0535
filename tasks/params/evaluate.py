"""Block `evaluate`: how the trained model is scored."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params import Block

TestTimeAugmentation = Literal["none", "mirror", "mirror_and_shift"]


class Evaluate(Block):
    """The primary metric, the batch size and test-time augmentation."""

    headline: Literal["accuracy", "balanced_accuracy", "f1_macro"]
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    test_time_augmentation: TestTimeAugmentation
    second_opinion: bool
