"""The stored bits whose flips hurt most, found one after another.

At each step the gradient of the loss says of every stored bit what its flip would change; of the
most promising ones the chip network itself is asked, and the worst is flipped before the next is
sought. The gradient is that of the exact twin (:func:`spikeproof.attacks.twin.chip_twin`), with
surrogate slopes for spikes; numba is needed for it.

Source: Rakin, He and Fan, "Bit-Flip Attack: Crushing neural network with progressive bit search",
ICCV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.losses import cross_entropy
from spikeproof.engines.fast import FastEngine
from spikeproof.errors import GraphError, MissingExtraError, SpikeproofError, UnsupportedError
from spikeproof.extras import need
from spikeproof.faults.base import Fault, Faulted, Images, Labels, Pair
from spikeproof.faults.weights import BITS, Bytes, flipped, from_stored, memories, stored
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.ir.synapses import ConvSynapse, DenseSynapse, Synapse
from spikeproof.text import counted

F64 = NDArray[np.float64]
_IMAGES = 64
"""Images that the bits are ranked with."""
_ASKED = 8
"""Bits of which the network itself is asked, at each step."""
_ESTIMATOR = Estimator(0.5, "detached", "arctangent")
_CHUNK = 1 << 22
"""Values of a kernel's inputs that are multiplied at a time."""


@dataclass(frozen=True)
class WorstBits(Fault):
    """The stored bits whose flips raise the loss most; the seed chooses the images they see."""

    kind = "worst-bits"
    title = "worst bits flipped"
    unit = "bits"
    rates = (1, 4, 16)
    most = 1024.0
    whole = True

    @property
    def text(self) -> str:
        """Return the number of bits."""
        return counted(int(self.rate), "bit")

    def obstacle(self, pair: Pair) -> SpikeproofError | None:
        """Say that the network has no twin, or that numba is not here."""
        image = np.zeros((1, *pair.chip.input_shape), np.uint8)
        try:
            weight_gradients(pair.chip, image, np.zeros(1, np.int64))
        except (MissingExtraError, UnsupportedError) as error:
            return error
        return None

    def strike(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Seek bits on some of the images, flip them, and change the trained weights by as much.

        Raises:
            UnsupportedError: the network has no twin, or a synapse that is of no known kind.
            MissingExtraError: numba is not here.
        """
        chosen = self.draws(seed).permutation(len(x))[:_IMAGES]
        masks = {(i, k): np.zeros(one.weight.shape, np.uint8) for i, k, one in memories(pair.chip)}
        network = pair.chip
        for _ in range(int(self.rate)):
            worst = _worst(network, masks, x[chosen], y[chosen])
            if worst is None:
                break  # no flip is left that the chip could hold
            place, network = worst
            masks[place.connection].flat[place.weight] |= np.uint8(1 << place.bit)
        return flipped(pair, masks)


@dataclass(frozen=True)
class _Place:
    """A stored bit: layer and connection, the weight in C-order, the bit's number."""

    connection: tuple[int, int]
    weight: int
    bit: int


def _worst(
    network: ChipNetwork, masks: dict[tuple[int, int], Bytes], x: Images, y: Labels
) -> tuple[_Place, ChipNetwork] | None:
    """Return the bit that raises the loss most, of those the gradient proposes, and the network."""
    found: tuple[_Place, ChipNetwork] | None = None
    most = -np.inf
    for place in _promising(network, masks, x, y):
        asked = _flip(network, place)
        try:
            check_chip(asked)
        except GraphError:
            continue
        loss = float(cross_entropy(_logits(asked, x), y)[0].mean())
        if loss > most:
            most, found = loss, (place, asked)
    return found


def _logits(network: ChipNetwork, x: Images) -> F64:
    return FastEngine(1).run(network, x).logits.astype(np.float64)


def _flip(network: ChipNetwork, place: _Place) -> ChipNetwork:
    i, k = place.connection
    layers = list(network.layers)
    inputs = list(layers[i].inputs)
    held = stored(inputs[k].synapse)
    held.flat[place.weight] ^= np.uint8(1 << place.bit)
    inputs[k] = inputs[k].changed(synapse=from_stored(inputs[k].synapse, held))
    layers[i] = layers[i].changed(inputs=tuple(inputs))
    return network.changed(layers)


def _promising(
    network: ChipNetwork, masks: dict[tuple[int, int], Bytes], x: Images, y: Labels
) -> list[_Place]:
    """Return the bits whose flips would raise the loss most along its gradient."""
    gradients = weight_gradients(network, x, y)
    ranked: list[tuple[float, _Place]] = []
    for i, k, synapse in memories(network):
        gain = gradients[i, k][..., None] * flip_sizes(synapse)
        bits = (masks[i, k][..., None] >> np.arange(BITS)) & 1
        gain = np.where(bits, -np.inf, gain).ravel()  # a bit is flipped once
        for at in np.argpartition(-gain, min(_ASKED, gain.size) - 1)[:_ASKED].tolist():
            ranked.append((float(gain[at]), _Place((i, k), at // BITS, at % BITS)))
    ranked.sort(key=lambda one: -one[0])
    return [place for gain, place in ranked[:_ASKED] if gain > -np.inf]


def flip_sizes(synapse: Synapse) -> F64:
    """Return by how much a weight changes when each of its stored bits flips, (*weight, 8)."""
    held = stored(synapse)
    now = synapse.weight.astype(np.float64)
    each = [from_stored(synapse, held ^ np.uint8(1 << b)).weight - now for b in range(BITS)]
    return np.stack(each, axis=-1)


def weight_gradients(network: ChipNetwork, x: Images, y: Labels) -> dict[tuple[int, int], F64]:
    """Return the gradients of the mean loss by the weights, by (layer, connection), in their shape.

    Raises:
        UnsupportedError: the network has no twin, or a synapse that is of no known kind.
        MissingExtraError: numba is not here.
    """
    need("numba", extra="fast", purpose="gradients of a twin")
    from spikeproof.attacks.twin import chip_twin
    from spikeproof.attacks.twin.maps import places

    twin = chip_twin(network)
    run = twin.forward(x)
    drives: dict[int, Any] = {}
    _, of_logits = cross_entropy(run.logits, y)
    twin.back(run, of_logits / len(x), _ESTIMATOR, drives=drives)

    def plain(values: NDArray[Any], shape: tuple[int, ...]) -> F64:
        """Put what a twin has in its order, (N, T, K), into C-order, (N, T, *shape)."""
        out = np.empty(values.shape)
        out[..., places(shape)] = values
        return out.reshape(*values.shape[:2], *shape)

    found = {}
    for i, k, synapse in memories(network):
        layer, source = network.layers[i], network.sources[i][k]
        if i not in drives:  # nothing of it reaches the answer
            found[i, k] = np.zeros(synapse.weight.shape)
            continue
        lag, steps = layer.inputs[k].lag, network.timesteps
        late = plain(drives[i], layer.shape)[:, lag:]
        if source == INPUT_INDEX:  # one image stands for all steps
            late, sent = late.sum(axis=1, keepdims=True), x[:, None].astype(np.float64)
        else:
            sent = plain(run.s[source], network.shape_of(source))[:, : steps - lag]
        flat = (late.reshape(-1, *layer.shape), sent.reshape(-1, *sent.shape[2:]))
        found[i, k] = _of_weights(synapse, *flat, layer.name) * 2.0**synapse.exponent
    return found


def _of_weights(synapse: Synapse, drive: F64, sent: F64, where: str) -> F64:
    """Return the gradient of weights from that of sums (M, *neurons) and payloads (M, *inputs)."""
    if isinstance(synapse, DenseSynapse):
        return np.asarray(drive.reshape(len(drive), -1).T @ sent.reshape(len(sent), -1))
    if not isinstance(synapse, ConvSynapse):
        raise UnsupportedError(f"no gradient by the weights of a {synapse.title}", where=where)
    found = np.zeros(synapse.weight.shape)
    step = max(1, _CHUNK // sent[0].size)
    for start in range(0, len(sent), step):
        part = slice(start, start + step)
        found += _of_kernel(synapse, drive[part], sent[part])
    return found


def _of_kernel(synapse: ConvSynapse, drive: F64, sent: F64) -> F64:
    groups, (outputs, inputs, *kernel) = synapse.groups, synapse.weight.shape
    height, width = drive.shape[2:]
    (down, right), (below, beside) = synapse.stride, synapse.dilation
    top, left = synapse.padding
    padded = np.pad(sent, ((0, 0), (0, 0), (top, top), (left, left)))
    padded = padded.reshape(len(sent), groups, inputs, *padded.shape[2:])
    given = drive.reshape(len(drive), groups, outputs // groups, height, width)
    found = np.empty(synapse.weight.shape)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            rows = slice(y * below, y * below + down * (height - 1) + 1, down)
            columns = slice(x * beside, x * beside + right * (width - 1) + 1, right)
            seen = padded[..., rows, columns]
            for g in range(groups):
                tap = np.tensordot(given[:, g], seen[:, g], ((0, 2, 3), (0, 2, 3)))
                found[g * (outputs // groups) : (g + 1) * (outputs // groups), :, y, x] = tap
    return found
