"""Times of events."""

from datetime import date, datetime, timedelta, timezone

from candgen.console import InputError

import pytest

pl = pytest.importorskip("polars")
from candgen.data.events import EventColumns, microseconds, read_events

from hypothesis import given
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DAY = date(2026, 11, 20)
MIDNIGHT = int(datetime(2026, 11, 20, tzinfo=timezone.utc).timestamp())
MORNING = MIDNIGHT + 8 * 3600 + 30 * 60


@pytest.mark.parametrize(
    "text",
    [
        f"{MORNING}",
        f"{MORNING}.0",
        f"{MORNING}000",
        f"{MORNING}000000",
        f"{MORNING}000000000",
        "2026-11-20T08:30:00",
        "2026-11-20 08:30:00",
        " 2026-11-20T08:30 ",
        "2026-11-20T08:30:00Z",
        "2026-11-20T08:30:00.000Z",
        "2026-11-20 08:30:00 UTC",
        "2026-11-20T09:30:00+01:00",
        "2026-11-20 03:00:00.0-0530",
        "2026-11-20 09:30+01",
    ],
)
def test_one_moment_in_many_ways(text):
    assert microseconds(pl.Series([text])).to_list() == [MORNING * 10**6]


def test_dates_fractions_and_early_times():
    texts = ["2026-11-20", "1970-01-01T00:00:00.000001Z", "0.25", "-1", "1969-12-31 23:59:59"]
    expected = [MIDNIGHT * 10**6, 1, 250_000, -(10**6), -(10**6)]
    assert microseconds(pl.Series(texts)).to_list() == expected


def test_what_is_no_time():
    texts = ["never", "nan", "inf", "2026-13-01", "20.11.2026", None, "2026-11-20"]
    assert microseconds(pl.Series(texts)).is_null().to_list()[:6] == [True] * 6
    assert microseconds(pl.Series([], dtype=pl.String)).to_list() == []


@given(
    st.lists(
        st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1)).map(
            lambda time: time.replace(tzinfo=timezone.utc)
        ),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_formats_may_be_mixed(times, rng):
    """Each time in some format of microseconds; what is read is exact."""
    expected = [(time - EPOCH) // timedelta(microseconds=1) for time in times]
    formats = [
        lambda time, exact: str(exact),
        lambda time, exact: time.isoformat(),
        lambda time, exact: time.isoformat(" "),
        lambda time, exact: time.astimezone(timezone(timedelta(hours=-3.5))).isoformat(),
        lambda time, exact: time.replace(tzinfo=None).isoformat(" "),
    ]
    texts = [rng.choice(formats)(time, exact) for time, exact in zip(times, expected)]
    assert microseconds(pl.Series(texts)).to_list() == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_times_of_parquet(tmp_path, unit, zone):
    """Without a zone they are UTC; dates and whole numbers as well."""
    local = (
        datetime(2026, 11, 20, 14, 0) if zone == "Asia/Kolkata" else datetime(2026, 11, 20, 8, 30)
    )
    times = pl.Series([local]).cast(pl.Datetime(unit))
    times = times.dt.replace_time_zone(zone) if zone else times
    assert read_times(tmp_path, times) == [MORNING * 10**6]


@pytest.mark.parametrize(
    "values",
    [[MORNING], [float(MORNING)], [MORNING * 1000], ["2026-11-20T08:30:00"]],
    ids=["whole", "float", "ms", "text"],
)
def test_other_times_of_parquet(tmp_path, values):
    assert read_times(tmp_path, pl.Series(values)) == [MORNING * 10**6]
    assert read_times(tmp_path, pl.Series([DAY])) == [MIDNIGHT * 10**6]


def read_times(folder, times):
    path = str(folder / "events.parquet")
    pl.DataFrame({"user": "u", "item": "i", "time": times}).write_parquet(path)
    return read_events(path, EventColumns("user", "item", "time")).clicks.times.tolist()


def test_numbers_follow_the_first_rows(write):
    """Clicks are ordered by user, then by time, then by row."""
    path = write("user,item,time\nb,x,3\na,y,2\nb,z,1\na,x,2\n", "events.csv")
    events = read_events(path, EventColumns("user", "item", "time"))
    assert (events.users.to_list(), events.items.to_list()) == (["b", "a"], ["x", "y", "z"])
    assert events.clicks.users.tolist() == [0, 0, 1, 1]
    assert events.clicks.items.tolist() == [2, 0, 1, 0]
    assert events.clicks.times.tolist() == [10**6, 3 * 10**6, 2 * 10**6, 2 * 10**6]


def test_files_with_times_of_several_kinds(write, tmp_path):
    """A database's table, numbers and text in one table of events."""
    paths = [str(tmp_path / f"{kind}.parquet") for kind in ("datetime", "date", "number")]
    for path, times in zip(paths, [[datetime(2026, 11, 20, 8, 30)], [DAY], [MORNING]]):
        pl.DataFrame({"user": "u", "item": "i", "time": times}).write_parquet(path)
    paths.append(write("user,item,time\nu,i,2026-11-20T08:30Z\n", "text.csv"))
    clicks = read_events(paths, EventColumns("user", "item", "time")).clicks
    assert clicks.times.tolist() == [MIDNIGHT * 10**6, *[MORNING * 10**6] * 3]


@pytest.mark.parametrize("kind", [pl.Time, pl.Duration])
def test_a_time_of_day_is_no_time(tmp_path, kind):
    path = str(tmp_path / "events.parquet")
    times = pl.Series([5]).cast(kind)
    pl.DataFrame({"user": "u", "item": "i", "time": times}).write_parquet(path)
    with pytest.raises(InputError, match=r"events.parquet: cannot be read \("):
        read_events(path, EventColumns("user", "item", "time"))


@pytest.mark.parametrize("times", [["20260129"], ["1", "20260129.0", "19900101", "2026-11-20"]])
def test_dates_without_hyphens(write, times):
    """Are not taken for seconds; the first one by row is named."""
    good = write("user,item,time\nu,i,2026-11-20\n", "good.csv")
    bad = write("user,item,time\n" + "".join(f"u,i,{time}\n" for time in times), "bad.csv")
    row = 1 + ("1" in times)
    problem = f"bad.csv: row {row}: {times[row - 1]!r} looks like a date; write 2026-01-29"
    with pytest.raises(InputError, match=problem):
        read_events([good, bad], EventColumns("user", "item", "time"))


@pytest.mark.parametrize(
    "times", [["20260129", "20260130", "20260199"], ["20260129.5"], ["19891231"], ["20261301"]]
)
def test_seconds_since_the_beginning_of_a_log(write, capfd, times):
    """Some of them look like dates, and not all; a warning, since no time is after 1990."""
    path = write("user,item,time\n" + "".join(f"u,i,{time}\n" for time in times), "t.csv")
    clicks = read_events(path, EventColumns("user", "item", "time")).clicks
    assert clicks.times.tolist() == [int(float(time) * 10**6) for time in times]
    assert "t.csv: all clicks are before 1990: are the times seconds, ms" in capfd.readouterr().err


def test_no_warning_of_times(write, capfd):
    """One click after 1990 is enough, and an empty table has none before."""
    for rows in ("", "u,i,1\nu,i,2026-01-29\n"):
        path = write("user,item,time\n" + rows, "t.csv")
        assert len(read_events(path, EventColumns("user", "item", "time")).clicks) == 2 * bool(rows)
    assert "warning" not in capfd.readouterr().err
