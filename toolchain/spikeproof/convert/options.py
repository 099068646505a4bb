"""The choices of a conversion, as command line, Python and configuration files have them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spikeproof.certify.lower_rail import LowerRail


class ConvertOptions(BaseModel):
    """Choices of a conversion; every field has a safe default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["default", "loihi"] = Field(
        default="default",
        description="loihi: only what Lava's own processes and lava-dl's .net files can hold; "
        "reports what that costs against the default.",
    )
    input_coding: Literal["auto", "graded", "bias"] = Field(
        default="auto",
        description="How pixels enter the first layer: as 8-bit graded payloads on chip weights, "
        "as a bias current the host computes once per image, or whichever flips fewer spikes.",
    )
    weight_bits: int = Field(
        default=8,
        ge=2,
        le=8,
        description="Bits per weight; mixed-sign weights step by 2**(9 - bits).",
    )
    calibration_samples: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Calibration images used, at most; the first ones.",
    )
    scale: dict[str, float] | None = Field(
        default=None,
        description="Force the scale of layers by name, in units of weight times spike per unit "
        "of float membrane; layers not named are searched.",
    )
    compensate: bool = Field(
        default=True,
        description="Let the rounding of one weight make up for that of others, fitted to half of "
        "the calibration images and kept where it helps on the other half; false: nearest.",
    )
    lower_rail: LowerRail = Field(
        default="never",
        description="never: no input drives v to either end of its range, by proof. may-saturate: "
        "v may stay at its lowest value, as on the chip, if all that inhibits comes in every step; "
        "finer weights where there are many inputs. u never wraps in both.",
    )
    search: bool = Field(
        default=True, description="Search each layer's scale on calibration images; false: max-abs."
    )
