"""The card of a trained network as typed data: what NAME.json beside a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from spikeproof.document.values import Record
from spikeproof.errors import InputError
from spikeproof.io.files import read_bytes
from spikeproof.verify.statistics import exact_interval


class CardRow(Record):
    """How many images both networks get right under one perturbation; always the first ones."""

    perturbation: str
    """Kind and strength in grey levels: ``gaussian 8/255``, ``worst case 8/255``; ``clean``."""
    images: int
    float_right: int
    chip_right: int
    clean_float_right: int
    """Right unperturbed, of the same images."""
    clean_chip_right: int
    bound: str = ""
    """What an accuracy under attack is, and of which attack; empty for clean and noise."""
    naive_right: int | None = None
    """Right in the trained network under the naive attack that papers quote, on the same images;
    None for clean and noise."""
    withstood: str = ""
    """Which of the first images the trained network withstands the suite run on itself: bits, in
    hexadecimal; empty for clean and noise."""

    @property
    def float_accuracy(self) -> float:
        """Share of the images the trained network gets right."""
        return self.float_right / self.images

    @property
    def chip_accuracy(self) -> float:
        """Share of the images the chip network gets right."""
        return self.chip_right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson interval of the trained network's accuracy."""
        low, high = exact_interval(self.float_right, self.images)
        return low, high


class TestFigures(Record):
    """What was measured on the test images."""

    __test__ = False  # pytest would take the name for a test

    images: int
    """Test images there are; rows may use the first of them only."""
    sha256: str
    seed: int
    suite: dict[str, Any]
    """The suite of attacks, as :meth:`spikeproof.attacks.suites.Suite.describe` gives it."""
    rows: list[CardRow]

    def row(self, perturbation: str) -> CardRow:
        """Return the row of a perturbation."""
        return next(row for row in self.rows if row.perturbation == perturbation)


class Card(Record):
    """The whole card."""

    schema_version: Literal[3] = Field(alias="schema", default=3)
    name: str
    checkpoint: str
    """SHA-256 of the checkpoint's content."""
    parameters: int
    timesteps: int
    gains: dict[str, list[float]]
    training: dict[str, Any]
    test: TestFigures


def load_card(path: Path) -> Card:
    """Read a card's JSON.

    Raises:
        InputError: it cannot be read, or is not a card of this schema.
    """
    try:
        return Card.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise InputError(
            f"is not a card of this version: {error.error_count()} fields are missing or wrong",
            where=str(path),
            hint="Make it again with: python -m spikeproof_models.cards",
        ) from error
