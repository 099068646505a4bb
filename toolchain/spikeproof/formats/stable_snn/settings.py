"""What a state dict of the reference code does not say, and whoever imports one has to."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from spikeproof.formats.stable_snn.plans import ARCHITECTURES

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]

TIMESTEPS = "give --timesteps T, as in training (the reference code's own scripts: 8)"
ADVICE = (
    "A state dict holds weights alone. The reference code's own scripts use --timesteps 8 "
    "--threshold 1 --leak 0.99; for CIFAR-10 --mean 0.4914,0.4822,0.4465 --std "
    "0.2023,0.1994,0.2010, for CIFAR-100 --mean 0.5071,0.4867,0.4408 --std 0.2675,0.2565,0.2761."
)


class StableSettings(BaseModel):
    """What was chosen when the network was built and trained.

    Threshold and leak are the paper's constants unless given, and pixels enter as they are unless
    mean and std are; whoever reads a file is told what was taken so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str | None = Field(
        default=None,
        description=f"The name of the network in the reference code: {', '.join(ARCHITECTURES)}.",
    )
    """Must be given; what a file's names tell is known to who reads it, and said in the error."""
    timesteps: Size | None = Field(
        default=None, description="Steps per sample. DLIF neurons say it themselves."
    )
    threshold: Positive = Field(
        default=1.0, description="Threshold of all neurons (vth there; the paper's: 1)."
    )
    leak: Number = Field(
        default=0.99,
        ge=0,
        le=1,
        description="What is left of a membrane after one step, 0..1 (tau there; paper: .99).",
    )
    mean: tuple[Number, ...] = Field(
        default=(),
        description="Subtracted from pixels in 0..1, one value per channel; with std, or neither.",
    )
    std: tuple[Positive, ...] = Field(
        default=(),
        description="Divides pixels after the mean is subtracted, one value per channel.",
    )
    input_shape: tuple[Size, Size, Size] | None = Field(
        default=None,
        description="The image, where it is not the square that the classifier's inputs leave.",
    )

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Take ``R,G,B`` of a command line and one number as well as a sequence."""
        if isinstance(given, str):
            return given.split(",")
        return (given,) if isinstance(given, int | float) else given
