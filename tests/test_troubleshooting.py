"""docs/troubleshooting.md has a row for every code of the wire and every error of the client."""

from __future__ import annotations

import re

from tests.checkout import ROOT
from touchstone_rewards import clients
from touchstone_rewards.reward_server.errors import SAMPLE_ERRORS, RequestError

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# Starlette's own answers, which have no class here.
ROUTING = {"not_found", "method_not_allowed"}


def first_cells(heading: str) -> set[str]:
    """Return the code spans in the first cells of a section's table."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_every_code_of_a_sample_has_a_row_and_no_other() -> None:
    assert first_cells("Codes of a sample") == set(SAMPLE_ERRORS)


def test_every_code_of_a_request_has_a_row_with_its_status() -> None:
    kinds = RequestError.__subclasses__()
    assert first_cells("Codes of a request") == {kind.code for kind in kinds} | ROUTING
    for kind in kinds:
        [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind.code}`")]
        assert str(kind.status) in row


def test_every_error_of_the_client_has_a_row() -> None:
    errors = {
        name
        for name in clients.__all__
        if isinstance(getattr(clients, name), type)
        and issubclass(getattr(clients, name), Exception)
    }
    assert first_cells("Errors of the client") == errors
