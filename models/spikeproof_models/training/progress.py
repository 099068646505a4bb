"""A progress line with time left for training, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from spikeproof_models.training.steps import ProgressCallback, TrainingProgress


@contextmanager
def training_progress(console: Console | None = None) -> Iterator[ProgressCallback]:
    """Yield a callback that shows a bar with the time left, and keeps a line per epoch.

    Without a terminal only the lines per epoch are written.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("training", total=None)

        def show(progress: TrainingProgress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)
            if progress.epoch_done:
                console.print(progress.message, highlight=False)
            else:
                bar.update(task, description=progress.message)

        yield show
