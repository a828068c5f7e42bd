from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from transforms.period import Period, parse_day, utc_day


def test_period_is_half_open():
    period = Period(date(2024, 12, 31), date(2025, 1, 1))
    assert period.holds(datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert not period.holds(datetime(2025, 1, 1, tzinfo=UTC))


def test_around_includes_both_last_days():
    period = Period.around(date(2024, 1, 1), 1, 2)
    assert (period.start, period.end) == (date(2023, 12, 31), date(2024, 1, 4))


def test_the_day_of_an_acquisition_is_its_utc_day():
    assert utc_day(datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == date(
        2023, 12, 31
    )
    with pytest.raises(ValueError, match="has no zone"):
        utc_day(datetime(2024, 1, 1))


@pytest.mark.parametrize("text", ["15.06.2024", "2024-6-15", "2024-13-01", "20240615", ""])
def test_other_date_formats_are_refused(text):
    with pytest.raises(ValueError, match="expected YYYY-MM-DD"):
        parse_day(text)


def test_date():
    assert parse_day("2024-06-15") == date(2024, 6, 15)
