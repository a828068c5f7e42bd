"""The schedule: which countries are mapped how often, and for which date; a TOML file.

A country's cadence sets its slots, days on which a run falls due; the date rule sets which day is
mapped then. Nothing here looks at the clock: today is a parameter.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from difflib import get_close_matches
from pathlib import Path

RUN_OPTIONS = {
    "checkpoint": str,
    "layers": list,
    "max_optical_days": int,
    "max_sar_days": int,
    "optical": str,
    "stale_sar_days": int,
    "inputs": str,
    "chip_size": int,
    "halo": int,
    "no_blend": bool,
    "speckle": str,
    "cloud_mask": str,
    "no_harmonise": bool,
    "precision": str,
    "product_epsg": int,
    "product_resolution": float,
    "keep_outside": bool,
    "max_requests": int,
    "max_failed": int,
    "device": str,
    "threads": int,
}
"""Keys of a country that are options of `cloudlulc run`, and their types."""

KEYS = {
    "name": str,
    "region": str,
    "source": str,
    "out": str,
    "cadence": str,
    "date": str,
    "starting": date,
    "look_back_days": int,
    "versions": str,
} | RUN_OPTIONS

EPOCH = date(2024, 1, 1)
"""A Monday: where the counting of "every N days" starts unless a country says otherwise."""

LONGEST_LOOK_BACK = 3660
"""Days: ten years."""

LATEST = "latest acquisition"
CADENCES = "daily, weekly (on Mondays), monthly (on the 1st) or every N days"
VERSIONS = ("newest", "best-evidence")
DATE_RULES = f'"{LATEST}", "N days ago" or "end of month"'
NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")


@dataclass(frozen=True)
class Country:
    """One entry of the schedule.

    Attributes:
      name: of the entry, in folders and in names of jobs.
      region: as for --region.
      source: as for --source.
      out: folder or gs:// address below which its runs lie.
      cadence: how often it is mapped.
      date: which day is mapped.
      starting: its first slot at the earliest; "every N days" counts from it.
      look_back_days: runs whose date lies at most this far back are made anew where scenes
        came late; "latest acquisition" searches as far.
      versions: rule by which its runs are laid over each other, see `pipeline.dated`; "": they
        are not.
      options: further options of `cloudlulc run`, by name.
    """

    name: str
    region: str
    source: str
    out: str
    cadence: str
    date: str
    starting: date = EPOCH
    look_back_days: int = 30
    versions: str = ""
    options: dict = field(default_factory=dict)

    def slot(self, today: date) -> date | None:
        """The last day up to today on which a run fell due; None before the first one."""
        day = _cadence(self.cadence)(today, self.starting)
        return day if day >= self.starting else None

    def target(self, slot: date, latest: Callable[[], date | None]) -> date | None:
        """The day that the run of a slot maps; None where nothing was acquired.

        Args:
          latest: finds the day of the latest acquisition; called for that rule alone.
        """
        if self.date == LATEST:
            return latest()
        return _date_rule(self.date)(slot)


def read_schedule(path: str) -> list[Country]:
    """The countries of a schedule, in the order of the file.

    Raises:
      ValueError: the file is not a schedule; names the entry.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"schedule: {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"schedule: {path} is not a TOML file: {error}") from None
    unknown = sorted(set(document) - {"defaults", "country"})
    if unknown:
        raise ValueError(f"schedule {path}: got {unknown}, expected [defaults] and [[country]]")
    defaults, entries = document.get("defaults", {}), document.get("country", [])
    if not isinstance(defaults, dict) or not isinstance(entries, list) or not entries:
        raise ValueError(f"schedule {path}: expected [defaults] and at least one [[country]]")
    _check_keys(f"schedule {path}, defaults", defaults)
    countries = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise ValueError(
                f"schedule {path}, country {number}: got {entry!r:.80}, expected a table"
            )
        name = entry.get("name", entry.get("region", ""))
        where = f"schedule {path}, country {name or number}"
        _check_keys(where, entry)
        countries.append(_country(where, {"name": name} | defaults | entry))
    for country in countries:
        if sum(other.name == country.name for other in countries) > 1:
            raise ValueError(
                f"schedule {path}, country {country.name}: the name stands more than once; a "
                "country with several products needs several names"
            )
    return countries


def _country(where: str, entry: dict) -> Country:
    missing = [key for key in ("source", "out", "cadence", "date") if key not in entry]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} is missing, here and in [defaults]")
    if not NAME.fullmatch(entry["name"]):
        raise ValueError(
            f"{where}: name is {entry['name']!r}, expected 1 to 31 of a-z, 0-9 and -, starting "
            "with a letter"
        )
    for check, value in ((_cadence, entry["cadence"]), (_date_rule, entry["date"])):
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if not 0 <= entry.get("look_back_days", 0) <= LONGEST_LOOK_BACK:
        raise ValueError(
            f"{where}: look_back_days is negative or above {LONGEST_LOOK_BACK}, expected a number "
            "of days between"
        )
    if entry.get("versions", VERSIONS[0]) not in VERSIONS:
        raise ValueError(
            f"{where}: versions is {entry['versions']!r}, expected {' or '.join(VERSIONS)}"
        )
    ours = {key: value for key, value in entry.items() if key not in RUN_OPTIONS}
    options = {key: entry[key] for key in RUN_OPTIONS if key in entry}
    return Country(**{"region": entry["name"]} | ours, options=options)


def _check_keys(where: str, entry: dict) -> None:
    for key, value in entry.items():
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; expected {', '.join(KEYS)}"
            raise ValueError(f"{where}: got {key}{hint}")
        kind = (int, float) if KEYS[key] is float else KEYS[key]
        # To Python a bool is an int, too.
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{where}: {key} is {value!r}, expected {KEYS[key].__name__}")


def _cadence(text: str) -> Callable[[date, date], date]:
    """(today, starting) -> the last slot up to today."""
    every = re.fullmatch(r"every ([1-9]\d{0,3}) days", text)
    if every:
        days = int(every[1])
        return lambda today, starting: today - timedelta((today - starting).days % days)
    rules = {
        "daily": lambda today, _: today,
        "weekly": lambda today, _: today - timedelta(today.weekday()),
        "monthly": lambda today, _: today.replace(day=1),
    }
    if text not in rules:
        raise ValueError(f"cadence is {text!r}, expected {CADENCES}")
    return rules[text]


def _date_rule(text: str) -> Callable[[date], date]:
    """Slot -> the day that is mapped, for rules that need no search."""
    ago = re.fullmatch(r"(\d{1,4}) days? ago", text)
    if ago:
        return lambda slot: slot - timedelta(int(ago[1]))
    if text == "end of month":
        return _end_of_month
    if text != LATEST:
        raise ValueError(f"date is {text!r}, expected {DATE_RULES}")
    return lambda slot: slot


def _end_of_month(slot: date) -> date:
    """The last day of a month that is over on the slot's evening."""
    tomorrow = slot + timedelta(1)
    return tomorrow.replace(day=1) - timedelta(1)
