"""Read a bundle to run it, write one: first it is proved that no input makes it overflow.

A converted bundle is certified for every input; its options may allow v to saturate below. One that
was read from a ``.net`` file is what its integers say: u may wrap and v saturate as on the chip, in
every engine alike.
"""

from __future__ import annotations

from pathlib import Path

from spikeproof.certify.lower_rail import LowerRail
from spikeproof.certify.overflow import possible_overflows
from spikeproof.certify.ranges import check_foreign_ranges, check_ranges
from spikeproof.errors import InputError
from spikeproof.io.bundle import Bundle, load_bundle, save_bundle
from spikeproof.io.files import make_folder
from spikeproof.io.zoo import zoo_networks


def load_safe_bundle(path: Path) -> Bundle:
    """Read a bundle to run it (see load_bundle), and prove that no input can make it overflow.

    One that says it was read from a ``.net`` file may overflow, as its integers say, and anyone can
    write that into a bundle: :func:`overflow_warnings` says where it can.

    Raises:
        RangeError: some input could make a sum, u, v or host current leave the chip's ranges.
        InputError: this is the name of a trained network.
    """
    if not path.exists() and str(path) in zoo_networks():
        raise InputError(
            "is a trained network, not a bundle",
            where=str(path),
            hint=f"First: spikeproof convert {path} -o {path}.spk",
        )
    bundle = load_bundle(path)
    check_bundle_ranges(bundle)
    return bundle


def write_bundle(path: Path, bundle: Bundle) -> Bundle:
    """Make the folder if it is missing and write the bundle in one step.

    Raises:
        RangeError: the network could overflow for some input; nothing is written.
    """
    check_bundle_ranges(bundle)
    make_folder(path.parent)
    return save_bundle(path, bundle)


def overflow_warnings(bundle: Bundle) -> list[str]:
    """Say where a bundle leaves the chip's ranges for some input.

    For a converted one that is excluded by proof (see :func:`load_safe_bundle`), unless v may
    saturate at its lower end as its options say.
    """
    if bundle.record.netx is None and _lower_rail(bundle) == "never":
        return []
    return [overflow.sentence for overflow in possible_overflows(bundle.network)]


def check_bundle_ranges(bundle: Bundle) -> None:
    """Certify ranges; a network read from elsewhere may wrap u and saturate v, as written."""
    if bundle.record.netx is not None:
        check_foreign_ranges(bundle.network)
    else:
        check_ranges(bundle.network, _lower_rail(bundle))


def _lower_rail(bundle: Bundle) -> LowerRail:
    """Return what the options of a bundle's conversion say; older ones say nothing."""
    allowed = bundle.record.options.get("lower_rail") == "may-saturate"
    return "may-saturate" if allowed else "never"
