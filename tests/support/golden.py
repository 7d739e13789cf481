"""Facts about published networks, each with its provenance in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOBILENETS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "mobilenet_published.json").read_text(encoding="utf-8")
)["networks"]
"""Published networks of the MobileNet space: ``name``, ``structure`` and what they cost."""
