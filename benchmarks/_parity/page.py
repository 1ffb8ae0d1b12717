"""docs/parity.md out of benchmarks/results/parity.json."""

from __future__ import annotations

from typing import Any


def page_of(results: dict[str, Any]) -> str:
    return f"# Parity\n\n{results['date']}\n"
