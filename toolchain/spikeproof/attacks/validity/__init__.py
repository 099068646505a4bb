"""Whether the figure of an attack can be believed: what is measured; ``verify`` judges it."""

from spikeproof.attacks.validity.measure import examine
from spikeproof.attacks.validity.record import Examined, Tried

__all__ = ["Examined", "Tried", "examine"]
