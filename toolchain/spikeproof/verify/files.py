"""What a verification leaves in its folder; apart, for the parser needs no more of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeproof.io.kinds import Kind

REPORT_FILES: dict[str, Kind] = {
    "report.json": "report",
    "report.html": "report page",
    "journal.jsonl": "journal",
    "previous-report.json": "report",
    "previous-report.html": "report page",
}
