"""Train a network from a recipe; after an interruption the same command goes on where it was."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, check_outputs, run_files
from spikeproof.errors import InputError
from spikeproof.extras import need
from spikeproof.io.zoo import zoo_networks

if TYPE_CHECKING:
    from spikeproof.io.kinds import Kind
    from spikeproof_models.training.steps import TrainingProgress


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    recipe: Annotated[Path, typer.Argument(help="A recipe: one TOML file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for NAME.state and NAME.ckpt.")
    ] = Path("runs/train"),
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data set, if it is not in a usual place.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let torchvision fetch Fashion-MNIST to --data-dir.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; by default a GPU if there is one.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from NAME.state if the output folder holds one.")
    ] = True,
    force: Force = False,
) -> int:
    """Check the recipe, load torch, train, and say where the checkpoint is."""
    need("torch", extra="torch", purpose="training")
    from spikeproof_models.recipe import load_recipe

    _refuse_trained(recipe)
    name = load_recipe(recipe).name  # a wrong recipe is found before torch is loaded
    files: dict[str, Kind] = {f"{name}.state": "training state", f"{name}.ckpt": "checkpoint"}
    check_outputs(run_files(output, files), [recipe, data_dir], force=force)
    if download:
        _fetch(recipe, data_dir)
    from spikeproof_models.training import train

    with console.stage(f"Training {recipe.stem}", always=False) as progress:

        def tell(tick: TrainingProgress) -> None:
            progress(tick.done, tick.total, "" if tick.epoch_done else tick.message)
            if tick.epoch_done:
                console.note(tick.message)

        path = train(
            recipe,
            output,
            data_dir=data_dir,
            resume=resume,
            device=device,
            progress=tell,
            note=console.note,
        )
    console.say(f"checkpoint: {path}")
    console.document({"schema": 1, "checkpoint": str(path)})
    return 0


def _refuse_trained(path: Path) -> None:
    """Raise for what is trained already, a file or a shipped network: train takes a recipe."""
    from spikeproof.io.kinds import is_kind

    shipped = not path.exists() and str(path) in zoo_networks()
    if shipped or (path.is_file() and path.stat().st_size and is_kind(path, "checkpoint")):
        raise InputError(
            f"is a {'shipped network' if shipped else 'checkpoint'}, trained already; train takes "
            "a recipe (a TOML file)",
            where=str(path),
            hint=f"`spikeproof convert {shlex.quote(str(path))}` converts it.",
        )


def _fetch(recipe: Path, data_dir: Path | None) -> None:
    """Fetch the recipe's data set, if it is the one that can be fetched."""
    from spikeproof_models.datasets import load_fashion_mnist
    from spikeproof_models.recipe import load_recipe

    dataset = load_recipe(recipe).data.dataset
    if dataset != "fashion-mnist":
        raise InputError(
            f"--download fetches fashion-mnist, this recipe needs {dataset}",
            where=str(recipe),
            hint="Put its files into a folder and name that with --data-dir.",
        )
    if data_dir is None:
        raise InputError(
            "--download does not say where to",
            where="train",
            hint="Add --data-dir FOLDER, a folder of yours; the files go into it.",
        )
    load_fashion_mnist("train", data_dir, download=True)
