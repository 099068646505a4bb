"""What a board can do with a network: the checks of the profile "loihi", and the chips' limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.text import accuracy_text

if TYPE_CHECKING:
    from spikeproof.cli.console import Console
    from spikeproof.cli.images import Images
    from spikeproof.convert.conversion import Conversion
    from spikeproof.convert.pipeline import ConvertOptions, Progress
    from spikeproof.io.record import ProfileCost
    from spikeproof.ir.chip import ChipNetwork

Row = dict[str, Any]


def check_board_bundle(network: ChipNetwork) -> None:
    """Check that a converted network can be written as .net and compiled for Loihi 2.

    Raises:
        UnsupportedError: it cannot; every reason is named.
    """
    from spikeproof.formats.netx.write import netx_problems
    from spikeproof_lava.hardware import problems

    found = [*netx_problems(network), *problems(network)]
    if found:
        raise UnsupportedError(
            list_problems(found),
            where=f"{network.name}, profile 'loihi'",
            hint="Nothing was written. Change these layers, or convert without --profile.",
        )


def compare_with_default(
    conversion: Conversion, data: Images, options: ConvertOptions, progress: Progress | None
) -> ProfileCost:
    """Convert the same network without the profile and say what the profile costs."""
    from spikeproof.convert.cost import profile_cost
    from spikeproof.convert.pipeline import convert_network

    plain = options.model_copy(update={"profile": "default", "input_coding": "auto"})
    default = convert_network(conversion.source, data.x, plain, progress)
    used = data.first(options.calibration_samples)
    return profile_cost(
        options.profile, conversion.folded, default.chip, conversion.chip, used.x, used.y
    )


def show_cost(console: Console, document: Row) -> None:
    """Print what a profile costs, from a bundle's record."""
    from spikeproof.io.record import ProfileCost

    cost = ProfileCost.model_validate(document)
    console.table(
        ["layer", "flips, default profile", f"flips, profile {cost.profile}"],
        [(row.layer, f"{row.flips_default:.4%}", f"{row.flips:.4%}") for row in cost.layers],
        f"cost of the profile {cost.profile}: spikes unlike the trained network's, end to end",
    )
    images = f"on the {cost.samples:,} calibration images"
    if cost.accuracy is not None:
        console.say(
            f"accuracy {images}: {_share(cost.accuracy_trained)} trained, "
            f"{_share(cost.accuracy_default)} default profile, "
            f"{_share(cost.accuracy)} {cost.profile}"
        )
    console.say(
        f"same class as the trained network {images}: "
        f"{_share(cost.agreement_default)} default profile, {_share(cost.agreement)} {cost.profile}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else accuracy_text(value)


# --- limits of the chips -----------------------------------------------------------------------


def chip_fit_rows(network: ChipNetwork) -> list[Row]:
    """Compare a network with the published limits of the chips; one row per chip and resource."""
    from spikeproof_lava.limits import chip_fit

    return [
        {
            "chip": row.chip,
            "resource": row.resource,
            "needed": row.needed,
            "available": row.available,
            "fits": row.fits,
            "source": row.source,
        }
        for row in chip_fit(network)
    ]


def show_limits(console: Console, limits: list[Row]) -> None:
    """Print the comparison with the chips, and how much such an estimate is worth."""
    from spikeproof_lava.limits import LOWER_BOUNDS

    console.table(
        ["chip", "resource", "needed", "available", "fits"],
        [(r["chip"], r["resource"], r["needed"], r["available"], r["fits"]) for r in limits],
    )
    over = [f"{r['chip']}: {r['resource']}" for r in limits if not r["fits"]]
    verdict = (
        f"beyond published limits: {'; '.join(over)}" if over else "no published limit exceeded"
    )
    console.say(f"{verdict}; {LOWER_BOUNDS}")
