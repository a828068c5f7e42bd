"""Half-open ranges of UTC days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple


class Period(NamedTuple):
    """The UTC days from `start` up to, not including, `end`."""

    start: date
    end: date

    @classmethod
    def around(cls, day: date, days_before: int, days_after: int) -> Period:
        """The days from `days_before` before to `days_after` after `day`, both included."""
        return cls(day - timedelta(days=days_before), day + timedelta(days=days_after + 1))

    def holds(self, moment: datetime) -> bool:
        return self.start <= utc_day(moment) < self.end

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


def utc_day(moment: datetime) -> date:
    """The UTC day of an acquisition. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"time {moment} has no zone: expected UTC; append Z to it")
    return moment.astimezone(UTC).date()


def parse_day(text: str) -> date:
    """The day in `text`, ISO 8601 (YYYY-MM-DD)."""
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError(text)
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ValueError(f"date: got {text!r}, expected YYYY-MM-DD, such as 2024-06-15") from None
