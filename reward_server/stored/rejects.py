"""Invalid rows: set them aside one by one, or end the run if there are too many."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.stored.draft import Draft
from touchstone_rewards.reward_server.stored.read import BadRow


class Rejects:
    """Counts the invalid rows and writes each to `draft` with its line and the reason.

    `max_bad_frac`: largest fraction of invalid rows. 0: the first one ends the run, and `draft` is
    None. `total`: the number of rows, if it is known.
    """

    def __init__(self, draft: Draft | None, max_bad_frac: float, total: int | None) -> None:
        self.draft, self.max_bad_frac, self.total = draft, max_bad_frac, total
        self.count = 0

    def passed(self, rows: Iterator[Sample | BadRow]) -> Iterator[Sample]:
        """Yield the valid samples among the rows.

        Raises:
            ConfigError: too many rows are invalid.
        """
        seen = 0
        for row in rows:
            seen += 1
            if not isinstance(row, BadRow):
                yield row
                continue
            if self.draft is None:
                raise ConfigError(
                    f"{row}; the results before it are kept: correct it and use --resume, or "
                    "allow some invalid rows with --max_bad_frac"
                )
            self.count += 1
            self.draft.append(msgspec.json.encode(row) + b"\n")
            if self.total is not None and self.count > self.max_bad_frac * self.total:
                raise self._too_many(f"{self.count} of {self.total} rows")
        if self.count > self.max_bad_frac * seen:
            raise self._too_many(f"{self.count} of {seen} rows")

    def _too_many(self, share: str) -> ConfigError:
        assert self.draft is not None
        return ConfigError(
            f"{share} are invalid, more than --max_bad_frac {self.max_bad_frac:g}; they are in "
            f"{self.draft.path}"
        )

    def finish(self) -> None:
        """Give the file of invalid rows its name; delete it if there are none."""
        if self.draft is None:
            return
        if self.count:
            self.draft.finish()
        else:
            self.draft.discard()
