"""Measure the engines against each other and the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, Output, check_outputs
from spikeproof.document.values import dump
from spikeproof.errors import InputError

if TYPE_CHECKING:
    from spikeproof.bench.document import NetFigures
    from spikeproof.bench.run import Settings

_QUIET_LOAD = 0.5


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    nets: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Networks, with commas: mlp, conv, zoo or names of shipped ones. "
            "[default: mlp,conv,zoo; quick: mlp,conv]",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few short rounds and no Lava: figures are rough.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of every contender. [default: all cores]")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of all contenders. [default: 9; quick: 3]")
    ] = None,
    no_lava: Annotated[
        bool, typer.Option("--no-lava", help="Leave out engines that take seconds to start: Lava.")
    ] = False,
    scaling: Annotated[
        Path | None,
        typer.Option(help="Measure cost against size instead; draw it here, figures beside it."),
    ] = None,
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients",
            help="Measure gradients of images instead, which attacks need: twins against a loop "
            "over time in torch, one thread each. Networks: zoo, names of shipped ones, vgg5.",
        ),
    ] = False,
    force: Force = False,
) -> int:
    """Measure the wanted networks, or how cost grows, and show what was found."""
    if gradients:
        if scaling is not None or threads is not None:
            other = "--scaling" if scaling is not None else "--threads"
            raise InputError(f"--gradients and {other} exclude each other", where="bench")
        return _gradients(console, _names(nets), rounds or (3 if quick else 9))
    if scaling is not None:
        figures = Output(scaling.with_suffix(".json"), "figures", "--scaling")
        check_outputs([Output(scaling, "drawing", "--scaling"), figures], [], force=force)
        return _scaling(console, scaling, quick)
    from spikeproof.bench.run import bench

    document = bench(_settings(nets, quick, threads, rounds, no_lava), console.stage)
    if (load := document.machine.load_before) > _QUIET_LOAD:
        console.warn(f"this machine was busy (load {load:.1f}): others' threads spoil the figures.")
    if first := document.first_use_seconds:
        console.note(
            f"first result in a new process: {first.warm:.2f} s from the cache, "
            f"{first.cold:.1f} s compiling"
        )
    for net in document.nets:
        show_net(console, net)
    console.document(dump(document))
    return 0


def _settings(
    nets: str | None, quick: bool, threads: int | None, rounds: int | None, no_lava: bool
) -> Settings:
    from spikeproof.bench.run import QUICK, Settings

    settings = Settings()
    if quick:
        settings = replace(
            settings,
            nets=("mlp", "conv"),
            plan=QUICK,
            slow_rounds=0,
            peak_seconds=0.01,
            first_use=False,
        )
    if nets is not None:
        settings = replace(settings, nets=_names(nets) or ())
    if threads is not None:
        settings = replace(settings, threads=threads)
    if rounds is not None:
        settings = replace(settings, plan=replace(settings.plan, rounds=rounds))
    return replace(settings, slow_rounds=0) if no_lava else settings


def _names(nets: str | None) -> tuple[str, ...] | None:
    return None if nets is None else tuple(n.strip() for n in nets.split(",") if n.strip())


def _gradients(console: Console, nets: tuple[str, ...] | None, rounds: int) -> int:
    from spikeproof.bench.gradients import measure_gradients, subjects

    with console.stage("Building the networks"):
        measured = list(subjects(nets))
    with console.stage("Gradients, by twins and by a loop in torch") as progress:
        document = measure_gradients(measured, rounds, progress)
    console.table(
        ["network", "gradients/s", "loop in torch", "times as many"],
        [[row.net, row.per_second, row.plain_torch, row.ratio] for row in document.gradients],
        "\nimage gradients per second, one thread each",
    )
    console.document(dump(document))
    return 0


def show_net(console: Console, net: NetFigures) -> None:
    """Print the tables of one network: contenders, then layers."""
    rates, ratios = net.samples_per_second, net.ratios
    rows = []
    for name in (key for key in rates if not key.endswith("_batch1")):
        spread, winner = net.quartiles.get(name), net.winners.get(name, name)
        rows.append(
            [
                name if winner == name else f"{name} = {winner}",
                rates.get(f"{name}_batch1"),
                net.batches.get(name),
                rates[name],
                ratios.get(name),
                None if spread is None else f"{spread[0]:.3g}..{spread[1]:.3g}",
                ratios.get(f"{name}_batch1"),
                net.agreement.get(winner),
            ]
        )
    active = ", ".join(f"{name} {rate:.3f}" for name, rate in net.activity.items())
    console.table(
        [
            "contender",
            "batch 1, 1/s",
            "best batch",
            "samples/s",
            "fast is x",
            "quartiles",
            "x at batch 1",
            "agrees",
        ],
        rows,
        f"\n{net.net}, T = {net.timesteps}, {net.neurons:,} neurons; "
        f"spikes per neuron and step: {active}",
    )
    for name, reason in net.absent.items():
        console.note(f"absent: {name}: {reason}")
    shares = [(row.layer, row.bound_by.replace("_", " "), row) for row in net.ceilings.layers]
    console.table(
        ["layer", "bound by", "floor, us", "took, us", "share"],
        [
            [layer, bound, _micro(row.floor_seconds), _micro(row.seconds), row.share]
            for layer, bound, row in [*shares, ("all layers, all threads", "", net.ceilings)]
        ],
    )


def _micro(seconds: float | None) -> float | None:
    return None if seconds is None else 1e6 * seconds


def _scaling(console: Console, path: Path, quick: bool) -> int:
    from spikeproof.bench.scaling import measure_scaling, write_scaling

    with console.stage("Cost against size") as progress:
        document = measure_scaling(quick=quick, progress=progress)
    written = write_scaling(document, path)
    for series in document.series:
        axis, fit = series.axis, series.fit
        console.table(
            [axis, "ms per sample", "peak memory, MiB", "of it the network's, MiB"],
            [
                [p.size(axis), 1e3 * p.seconds, p.peak_bytes / 2**20, p.own_bytes / 2**20]
                for p in series.points
            ],
            f"\n{axis}: {1e6 * fit.fixed_seconds:.3g} us and {1e9 * fit.seconds_per_unit:.3g} ms "
            f"per million, off by at most {fit.largest_deviation:.0%}",
        )
    console.say("written: " + ", ".join(map(str, written)))
    console.document(dump(document))
    return 0
