"""The choice of what the proof may assume of the lower end of v."""

from __future__ import annotations

from typing import Literal

LowerRail = Literal["never", "may-saturate"]
"""Whether v of a spiking layer that receives spikes may saturate below for some input."""
