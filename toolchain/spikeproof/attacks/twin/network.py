"""A network as its twin: all T steps of a layer at once, and one pass back without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import ADAPTIVE, FIRED, GAUSSIAN, RAMP, STRAIGHT, Estimator
from spikeproof.attacks.twin import rates
from spikeproof.attacks.twin.maps import Shape, channels_last, places
from spikeproof.attacks.twin.population import Feed, Population
from spikeproof.engines.compiled import gradients as kernels
from spikeproof.errors import InputError
from spikeproof.ir.readouts import ReadoutRule

Array = NDArray[Any]
F64 = NDArray[np.float64]
_FORMS = {
    "triangle": kernels.TRIANGLE,
    "arctangent": kernels.ARCTANGENT,
    "rectangular": kernels.RECTANGULAR,
    "exponential": kernels.EXPONENTIAL,
    STRAIGHT: kernels.STRAIGHT,
    GAUSSIAN: kernels.GAUSSIAN,
    ADAPTIVE: kernels.ADAPTIVE,
    FIRED: kernels.STRAIGHT,
    RAMP: kernels.STRAIGHT,
}
_LEAST_SPREAD = 1e-3
"""Of a Gaussian slope, in units of the threshold: a layer that never moves has no deviation."""


@dataclass
class Memory:
    """What an adaptive estimator remembers of images from one gradient to the next.

    running: per population the running mean and deviation of distances, (N, T, K) each.
    """

    running: dict[int, tuple[Array, Array]] = field(default_factory=dict)

    def of(self, rows: Array) -> Memory:
        """Return what is remembered of some images, as a copy."""
        return Memory({i: (m[rows], d[rows]) for i, (m, d) in self.running.items()})


@dataclass(frozen=True, eq=False)
class Forward:
    """What a forward pass left: logits (N, K) in float64; v and spikes (N, T, K) by population."""

    logits: F64
    v: list[Array]
    s: list[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Twin:
    """A network that answers images on the 8-bit grid with logits and gradients.

    Args:
        name: of the network.
        input_shape: (C, H, W).
        timesteps: T.
        populations: by position; ``order`` says in which order they run.
        rule: which answer is read from the last population; "auto": the mean over the steps of
            what arrived.
        scale: what pixels 0..255 are multiplied with before they enter.
        kind: type of states and gradients, float32 or float64.
    """

    name: str
    input_shape: Shape
    timesteps: int
    populations: tuple[Population, ...]
    order: tuple[int, ...]
    rule: ReadoutRule
    scale: float
    kind: Any = np.float32

    @property
    def classes(self) -> int:
        """Return how many logits there are."""
        return len(places(self.populations[-1].shape))

    def forward(self, x: NDArray[np.uint8]) -> Forward:
        """Run images, uint8 (N, C, H, W)."""
        return self._forward(x)

    def logits(self, x: NDArray[np.uint8]) -> F64:
        """Return logits (N, K) of images, uint8 (N, C, H, W)."""
        return self._forward(x).logits

    def back(
        self,
        run: Forward,
        of_logits: Array,
        estimator: Estimator,
        memory: Memory | None = None,
        drives: dict[int, Array] | None = None,
    ) -> Array:
        """Return the gradient of the images in [0, 1], (N, C, H, W), from that of the logits.

        Args:
            run: of the images.
            of_logits: (N, K).
            estimator: what stands for the derivative of a spike.
            memory: of an adaptive estimator on these images, which is moved on; None: none yet.
            drives: filled with the gradients of each population's sums, (N, T or 1, K), by its
                position: who wants gradients of weights multiplies them with what was sent.

        Raises:
            InputError: the estimator's surrogate is not known here; a gradient is not finite, with
                the population after which it was first seen.
        """
        form = _FORMS.get(estimator.surrogate)
        if form is None:
            raise InputError(
                f"the surrogate {estimator.surrogate!r} has no kernel",
                where="attack",
                hint=f"Known here: {', '.join(_FORMS)}. FGSM and PGD take any, through torch.",
            )
        gradients: list[Array | None] = [None] * len(self.populations)
        samples = len(of_logits)
        pixels = np.zeros((samples, int(np.prod(self.input_shape))), self.kind)
        spikes, from_v = self._seed(run, of_logits)
        for i in reversed(self.order):
            last = i == len(self.populations) - 1
            found = spikes if last else gradients[i]
            gradients[i] = None
            if found is None and not last:
                continue
            one = self.populations[i]
            empty = np.zeros((0, 0, 0), self.kind)
            arrived = (
                empty if found is None else found,
                from_v if last and from_v is not None else empty,
            )
            adapted = self._adapted(i, run, form, memory)
            drive = self._through(one, run, i, arrived, estimator, adapted)
            if not _finite(drive):
                raise InputError(
                    "the gradient is not finite",
                    where=one.name,
                    hint="Look for weights or a width out of proportion; no attack can follow it.",
                )
            if drives is not None:
                drives[i] = drive
            for feed in one.feeds:
                into = drive
                if feed.host is not None and one.keep.any():
                    moved = (*adapted[:2], 0)
                    into = self._through(one, run, i, arrived, estimator, moved, host=True)
                factor = self._factor(one, feed)
                self._bring(feed, into * factor if factor != 1 else into, gradients, pixels)
        order = np.empty(pixels.shape[1], np.int64)
        order[places(self.input_shape)] = np.arange(pixels.shape[1])
        whole = pixels[:, order].reshape(samples, *self.input_shape)
        return np.asarray(whole * self.kind(255 * self.scale))

    def _forward(self, x: NDArray[np.uint8]) -> Forward:
        if x.dtype != np.uint8 or x.shape[1:] != tuple(self.input_shape):
            raise InputError(
                f"images are {x.dtype} {x.shape}, expected uint8 (N, {self.input_shape})",
                where=self.name,
            )
        flat = np.ascontiguousarray(x.reshape(len(x), -1)[:, places(self.input_shape)])
        pixels: Array = flat if self.scale == 1 else flat.astype(self.kind) * self.kind(self.scale)
        none = np.zeros((0, 0, 0), np.uint8)
        v, s = [none] * len(self.populations), [none] * len(self.populations)
        for i in self.order:
            v[i], s[i] = self._run(self.populations[i], pixels[:, None], s)
        return Forward(self._answer(v[-1], s[-1]), v, s)

    def _run(
        self, one: Population, pixels: Array, s: Sequence[Array]
    ) -> tuple[Array, NDArray[np.uint8]]:
        samples, steps, width = len(pixels), self.timesteps, one.leak.shape[1]
        sources = [pixels if feed.source < 0 else s[feed.source] for feed in one.feeds]
        inner = [(f, x) for f, x in zip(one.feeds, sources, strict=True) if f.host is None]
        constant = all(feed.source < 0 and not feed.lag for feed, _ in inner)
        drive = np.zeros((samples, 1 if constant else steps, width), one.drive)
        if not one.chip:
            drive += one.bias
        for feed, source in inner:
            _add(feed, source, drive)
        full = (samples, steps, width)
        spikes = np.empty(full, np.uint8)
        if one.chip:
            v = np.empty(full, self.kind)
            drive *= one.drive(one.gain[0, 0])
            kernels.chip_neurons(
                drive,
                self._bias(one, pixels),
                one.leak,
                one.keep,
                one.threshold,
                one.taken,
                one.initial,
                one.hard,
                v,
                spikes,
            )
        else:
            v = np.empty(full, self.kind)
            kernels.neurons(
                drive,
                one.leak,
                one.gain,
                one.threshold,
                one.taken,
                one.initial,
                one.hard,
                one.strict,
                v,
                spikes,
            )
        return v, spikes

    def _bias(self, one: Population, pixels: Array) -> F64:
        """Return what a chip's population adds to v at every step, (N or 1, K)."""
        mantissa = one.bias[None].astype(np.float64)
        for feed in one.feeds:
            if feed.host is not None:
                sums = np.zeros((len(pixels), one.leak.shape[1]), one.drive)
                feed.map.add(pixels[:, 0], sums)
                offset, divisor = feed.host
                mantissa = mantissa + np.floor((sums + offset) / divisor + (divisor > 1) * 0.5)
        return mantissa * one.bias_factor

    def _factor(self, one: Population, feed: Feed) -> float:
        """Return what multiplies the gradient of a feed, besides the gain of its population."""
        if feed.host is None:
            return feed.factor
        return one.bias_factor / feed.host[1] / float(one.gain[0, 0])

    def _through(
        self,
        one: Population,
        run: Forward,
        i: int,
        arrived: tuple[Array, Array],
        estimator: Estimator,
        adapted: tuple[Array, Array, int],
        *,
        host: bool = False,
    ) -> Array:
        """Return the gradient of what drives a population; ``host``: of what is added to v.

        Of rates, (N, 1, K): of a drive that is the same at all steps.
        """
        numbers = one.cast(self.kind)
        form = _FORMS[estimator.surrogate] if one.spiking else kernels.STRAIGHT
        of_rates = estimator.through == "rates"
        if of_rates and one.spiking:
            slope = rates.slopes(one, run.v[i], run.s[i], form, estimator, adapted)
            total = (arrived[0] if len(arrived[0]) else arrived[1]).sum(axis=1, keepdims=True)
            return np.asarray(total * slope * rates.drive_gain(one, self.kind, host=host))
        leak = numbers["leak"]
        if one.spiking and estimator.leak == "detached":
            leak = np.zeros_like(leak)
        out = np.empty(run.v[i].shape, self.kind)
        kernels.neurons_back(
            run.v[i],
            run.s[i],
            *arrived,
            leak,
            np.zeros_like(numbers["keep"]) if host else numbers["keep"],
            numbers["gain"],
            numbers["threshold"],
            numbers["unit"],
            numbers["taken"],
            one.hard,
            one.spiking and estimator.reset == "attached",
            form,
            estimator.width if one.spiking else 1.0,
            *adapted,
            out,
        )
        return out.sum(axis=1, keepdims=True) if of_rates else out

    def _adapted(
        self, i: int, run: Forward, form: int, memory: Memory | None
    ) -> tuple[Array, Array, int]:
        """Return what an adaptive slope needs of a population: (N, T, K) twice, or nothing.

        And whether that is used as it is (0), begins now (1), or moves on (2).
        """
        one, v = self.populations[i], run.v[i]
        none = np.zeros((0, 0, 0), self.kind)
        if not one.spiking or form not in (kernels.GAUSSIAN, kernels.ADAPTIVE):
            return none, none, 0
        numbers = one.cast(self.kind)
        if form == kernels.GAUSSIAN:
            distance = (v - numbers["threshold"]) / numbers["unit"]
            images = distance.reshape(*v.shape[:2], -1, channels_last(one.shape)[-1])
            over = 2 if len(one.shape) == 3 else (2, 3)
            sigma = np.maximum(images.std(axis=over, keepdims=True), _LEAST_SPREAD)
            sigma = np.ascontiguousarray(np.broadcast_to(sigma, images.shape)).reshape(v.shape)
            return (sigma / 2).astype(self.kind), sigma.astype(self.kind), 0
        kept = memory or Memory()
        started = i in kept.running
        if not started:
            kept.running[i] = (np.empty(v.shape, self.kind), np.empty(v.shape, self.kind))
        return *kept.running[i], 2 if started else 1

    def _bring(
        self, feed: Feed, drive: Array, gradients: list[Array | None], pixels: Array
    ) -> None:
        """Bring the gradient of a population's sums, (N, T or 1, O), to the source of a feed."""
        samples, steps, _ = drive.shape
        if feed.lag >= self.timesteps:
            return
        lag = feed.lag
        if steps < self.timesteps:  # of rates: what lags arrives at fewer steps
            drive, lag = drive * self.kind(1 - lag / self.timesteps), 0
        late = drive[:, lag:]
        if feed.source < 0:  # one image stands for all steps
            pixels += feed.map.back(late.sum(axis=1))
            return
        back = feed.map.back(late.reshape(samples * late.shape[1], -1))
        back = back.reshape(samples, late.shape[1], -1)
        held = gradients[feed.source]
        if held is None and not lag:
            gradients[feed.source] = back
            return
        if held is None:
            held = np.zeros((samples, steps, back.shape[2]), back.dtype)
        held[:, : steps - lag] += back
        gradients[feed.source] = held

    def _answer(self, v: Array, s: NDArray[np.uint8]) -> F64:
        """Return the logits, in C-order of the last population."""
        whole = v.astype(np.float64)
        match self.rule:
            case "auto":
                found = whole[:, -1] / self.timesteps
            case "last":
                found = whole[:, -1]
            case "mean":
                found = whole.sum(axis=1) / self._mean_of
            case "max":
                found = whole.max(axis=1)
            case "max-abs":
                found = np.abs(whole).max(axis=1)
            case _:
                found = s.sum(axis=1, dtype=np.float64)
        out = np.empty_like(found)
        out[:, places(self.populations[-1].shape)] = found
        return out

    @property
    def _mean_of(self) -> int:
        return 1 if self.populations[-1].chip else self.timesteps

    def _seed(self, run: Forward, of_logits: Array) -> tuple[Array | None, Array | None]:
        """Return the gradients of the last population's spikes and of its v; one of them is."""
        v = run.v[-1]
        flat = of_logits[:, places(self.populations[-1].shape)].astype(self.kind)
        seed = np.zeros(v.shape, self.kind)
        match self.rule:
            case "auto":
                seed[:, -1] = flat / self.timesteps
            case "last":
                seed[:, -1] = flat
            case "mean":
                seed[:] = flat[:, None] / self._mean_of
            case "max" | "max-abs":
                size = np.abs(v) if self.rule == "max-abs" else v
                at = size.argmax(axis=1)[:, None]
                sign = np.sign(np.take_along_axis(v, at, 1)) if self.rule == "max-abs" else 1
                np.put_along_axis(seed, at, (flat[:, None] * sign).astype(self.kind), 1)
            case _:
                seed[:] = flat[:, None]
                return seed, None
        return None, seed


def _finite(values: Array) -> bool:
    """Tell whether all values are finite; the sum of squares says so unless it is too large."""
    flat = values.ravel()
    return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def _add(feed: Feed, source: Array, drive: Array) -> None:
    """Add what a feed brings to the sums (N, T or 1, K)."""
    samples, _, width = drive.shape
    steps = source.shape[1]
    into_all = drive.shape[1] == steps and not feed.lag and feed.factor == 1
    flat = (-1, source.shape[2])
    if into_all:
        feed.map.add(source.reshape(flat), drive.reshape(-1, width))
        return
    used = source if steps == 1 else source[:, : steps - feed.lag]
    if not used.shape[1] or feed.lag >= drive.shape[1]:
        return
    sums = np.zeros((samples, used.shape[1], width), drive.dtype)
    feed.map.add(np.ascontiguousarray(used).reshape(flat), sums.reshape(-1, width))
    if feed.factor != 1:
        sums *= drive.dtype.type(feed.factor)
        if feed.factor < 1:
            np.floor(sums, out=sums)
    drive[:, feed.lag :] += sums
