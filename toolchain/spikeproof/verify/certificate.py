"""Judge the range certificate by bounds and runs that it has no part in (check V9).

Per layer: nothing a second, plain analysis finds possible may lie outside of the certificate, nor
outside of what the bundle's record claims, and no extremal input may leave either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from spikeproof.certify.ranges import LayerRange, certify_ranges
from spikeproof.ir.chip import ChipNetwork
from spikeproof.verify.extremes import Reached, reach
from spikeproof.verify.interval import Bounds, Ints, bound_network

Json = dict[str, Any]
Certify = Callable[[ChipNetwork], list[LayerRange]]
_BITS = 5e-4
"""The record keeps headroom with three decimals."""


def judge_certificate(
    network: ChipNetwork, claims: dict[str, Json], certify: Certify = certify_ranges
) -> list[Json]:
    """Certify a network and judge the certificate, layer by layer.

    Args:
        network: the chip network.
        claims: what the bundle's record says of each layer's range, by name; may lack any of it.
        certify: the analysis under judgement.

    Returns:
        One row per layer: the certificate, ``independent`` and ``reached`` figures, ``unsound``
        (a sentence for each figure that is too small; empty: it holds), ``overclaimed`` (the same
        of the bundle's record, which no analysis relies on) and ``neuron``, where.
    """
    bounds = bound_network(network)
    certified = {row.name: row for row in certify(network)}
    largest = 255 if network.coding == "pixels" else 1
    inputs: Ints = np.full(network.input_shape, largest, np.int64)
    rows = []
    for index, (layer, bound) in enumerate(zip(network.layers, bounds, strict=True)):
        pixels = index == 0 and network.coding == "pixels"
        reached = reach(layer, bound, inputs, network.timesteps, pixels=pixels)
        inputs = bound.fires.astype(np.int64)
        found = certified.get(layer.name)
        unsound = [f"no certificate for {layer.name}"] if found is None else _unsound(found, bound)
        if found is not None:
            unsound += _left(found, reached, "the certificate")
        unsound += _left(_as_range(bound), reached, "the second bound")
        certificate = {"name": layer.name} if found is None else asdict(found)
        rows.append(
            {
                **certificate,
                "independent": _figures(bound),
                "reached": asdict(reached),
                "unsound": unsound,
                "overclaimed": _overclaimed(claims.get(layer.name, {}), bound, reached),
                "neuron": _where(bound, found),
            }
        )
    return rows


def _figures(bound: Bounds) -> Json:
    reach = bound.figures
    return {
        "sum_bound": reach["synaptic sum"][0],
        "u_bound": reach["u"][0],
        "v_low": int(bound.v_low.min()),
        "v_high": int(bound.v_high.max()),
        "host_bound": reach["host mantissa"][0],
        "headroom_bits": bound.headroom,
        "ok": bound.headroom >= 0,
    }


def _as_range(bound: Bounds) -> LayerRange:
    f = _figures(bound)
    return LayerRange(
        bound.name,
        f["sum_bound"],
        f["u_bound"],
        f["v_low"],
        f["v_high"],
        f["headroom_bits"],
        f["ok"],
        (),
        f["host_bound"],
    )


_MAGNITUDES = {"sum_bound": "the synaptic sum", "u_bound": "u", "host_bound": "a host mantissa"}


def _unsound(found: LayerRange, bound: Bounds) -> list[str]:
    """List where the certificate promises more than the plain analysis finds."""
    given, wanted = asdict(found), _figures(bound)
    problems = _too_tight(given, wanted, "the certificate")
    if given["ok"] and not wanted["ok"]:
        problems.append("the certificate says that everything fits, and it does not")
    return problems


def _overclaimed(claim: Json, bound: Bounds, reached: Reached) -> list[str]:
    """List where the bundle's record promises more than is so."""
    known = {k: v for k, v in claim.items() if isinstance(v, int | float)}
    if not known:
        return []
    problems = _too_tight(known, _figures(bound), "the bundle's record")
    for key, value, outside in (
        ("v_low", reached.v_low, "below"),
        ("v_high", reached.v_high, "above"),
    ):
        beyond = key in known and (value < known[key] if outside == "below" else value > known[key])
        if beyond:
            problems.append(
                f"an input drives v to {value}, {outside} the {known[key]} of the bundle's record"
            )
    return problems


def _too_tight(given: Json, wanted: Json, whose: str) -> list[str]:
    problems = [
        f"{whose} bounds {what} by {given[key]}, but {wanted[key]} is possible"
        for key, what in _MAGNITUDES.items()
        if key in given and not given[key] >= wanted[key]
    ]
    if "v_low" in given and not given["v_low"] <= wanted["v_low"]:
        problems.append(
            f"{whose} bounds v from below by {given['v_low']}, but {wanted['v_low']} is possible"
        )
    if "v_high" in given and not given["v_high"] >= wanted["v_high"]:
        problems.append(
            f"{whose} bounds v from above by {given['v_high']}, but {wanted['v_high']} is possible"
        )
    bits = given.get("headroom_bits")
    if bits is not None and not bits <= wanted["headroom_bits"] + _BITS:
        problems.append(
            f"{whose} gives {bits:.3f} bits of headroom, there are {wanted['headroom_bits']:.3f}"
        )
    return problems


def _left(found: LayerRange, reached: Reached, whose: str) -> list[str]:
    """List what the extremal inputs reached outside of a range."""
    problems = []
    if not found.v_low <= reached.v_low:
        problems.append(
            f"an input drives v of neuron {reached.lowest} to {reached.v_low}, "
            f"below the {found.v_low} of {whose}"
        )
    if not reached.v_high <= found.v_high:
        problems.append(
            f"an input drives v of neuron {reached.highest} to {reached.v_high}, "
            f"above the {found.v_high} of {whose}"
        )
    if not reached.u <= found.u_bound:
        problems.append(f"an input drives u to {reached.u}, beyond the {found.u_bound} of {whose}")
    return problems


def _where(bound: Bounds, found: LayerRange | None) -> list[int]:
    """Return the neuron that goes furthest beyond the certificate, or furthest at all."""
    low, high = (0, 0) if found is None else (found.v_low, found.v_high)
    beyond = np.maximum(low - bound.v_low, bound.v_high - high)
    if found is None or int(beyond.max()) <= 0:
        beyond = np.maximum(-bound.v_low, bound.v_high)
    return [int(i) for i in np.unravel_index(int(beyond.argmax()), beyond.shape)]
