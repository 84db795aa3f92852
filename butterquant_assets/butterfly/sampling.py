"""Which sessions and tickers become samples: days stratified by the VIX, tickers by dollar volume.

What belongs here: the choice itself, from frames to frames. What does not: where bars and VIX come from, and the
contract of the table that is stored.

The choice is deterministic and steady. Days are ranked within their episode by a hash of (seed, date) and taken in
order of (rank, hash of the episode), so picks spread over episodes, and data that arrives later displaces a pick only
by a new day. Nothing is duplicated to fill a stratum that falls short; `Sampling.summary` says what was asked, found
and taken.

Source: REFERENCE section 1, "VIX strata".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.config import SamplingConfig
from butterquant_assets.foundation.calendar import is_session, month_of, parse_month, session_number, sessions
from butterquant_assets.foundation.errors import ConfigError, DataError

STRATA = ("low", "normal", "high")
LOW_BELOW = 15.0
HIGH_ABOVE = 25.0
SAMPLE_COLUMNS = ["session", "ticker", "stratum", "vix_close", "episode"]
SUMMARY_COLUMNS = [
    "stratum",
    "asked_days",
    "found_days",
    "taken_days",
    "episodes_found",
    "episodes_taken",
    "asked_rows",
    "taken_rows",
]


@dataclass(frozen=True)
class Sampling:
    """What `sample` chose.

    Attributes
    ----------
    samples
        columns session, ticker, stratum, vix_close, episode; sorted by session and ticker, keys unique
    summary
        one row per stratum in the order low, normal, high: asked_days, found_days, taken_days, episodes_found,
        episodes_taken, asked_rows (asked_days x tickers asked a day), taken_rows
    """

    samples: pd.DataFrame
    summary: pd.DataFrame


def strata(vix: pd.DataFrame, gap: int = SamplingConfig.episode_gap) -> pd.DataFrame:
    """Stratum and episode of every session the VIX has a close for.

    low: close < 15; normal: 15 <= close <= 25; high: close > 25. An episode is a maximal run of sessions in one
    stratum in which at most `gap` sessions in a row lie in another stratum or have no close; those belong to episodes
    of their own. It is named by its stratum and first session, ``high-2018-02-05``: later data cannot rename it.

    Parameters
    ----------
    vix
        columns session, close; rows on days the exchange was closed, and rows without a close, do not count
    gap
        longest gap bridged, in sessions of the exchange calendar

    Returns
    -------
    DataFrame
        session, vix_close, stratum, episode; ascending by session

    Raises
    ------
    DataError
        if a session occurs twice or a close is not positive.
    """
    rows = vix.loc[is_session(vix["session"].to_numpy()) & vix["close"].notna().to_numpy(), ["session", "close"]]
    _require_sound_vix(rows)
    rows = rows.sort_values("session", kind="stable").reset_index(drop=True)
    close = rows["close"].to_numpy(dtype=np.float64)
    result = pd.DataFrame(
        {
            "session": rows["session"].astype("datetime64[us]"),
            "vix_close": close,
            "stratum": pd.Series(np.select([close < LOW_BELOW, close > HIGH_ABOVE], ["low", "high"], "normal")).astype(
                "str"
            ),
        }
    )
    number = pd.Series(session_number(result["session"].to_numpy()))
    # Within one stratum, a step of 1 is the next session and a step of 1 + gap leaves `gap` sessions between.
    step = number.groupby(result["stratum"]).diff()
    first = result["session"].where(step.isna() | (step > 1 + gap)).groupby(result["stratum"]).ffill()
    result["episode"] = (result["stratum"] + "-" + first.dt.strftime("%Y-%m-%d")).astype("str")
    return result


def sample(vix: pd.DataFrame, bars: pd.DataFrame, first: str, last: str, config: SamplingConfig) -> Sampling:
    """Choose sessions of the months `first` .. `last` by stratum, and the most traded tickers of each.

    Strata and episodes are those of the whole VIX history given, so the window cuts no episode in two. A session
    counts as found when the VIX has a close for it and at least one ticker can be ranked on it. The tickers of a
    session are those with the largest dollar volume (the sum of close x volume over the last
    `config.dollar_volume_sessions` sessions of the calendar, the day included); equal sums are ordered by ticker. A
    ticker is ranked only if it has a bar on every one of those sessions: it neither suspended nor began trading there,
    and its sum is comparable with the others'. Nothing after the day is used.

    Parameters
    ----------
    vix
        columns session, close, as in `strata`
    bars
        columns session, ticker, close, volume; keys unique. A bar whose close or volume is missing counts as no bar
    first, last
        months as ``YYYY-MM``, both included
    config
        quotas, tickers per day, window, gap and seed

    Returns
    -------
    Sampling

    Raises
    ------
    ConfigError
        if a month cannot be read, `last` lies before `first`, or a quota is negative.
    DataError
        if a key of `vix` or `bars` occurs twice, a VIX close is not positive, or a bar has a negative close or volume.
    """
    _require_sound_request(first, last, config)
    days = strata(vix, config.episode_gap)
    months = month_of(days["session"].to_numpy())
    days = days[(months >= first) & (months <= last)]
    volume = _dollar_volume(bars, config.dollar_volume_sessions, first, last)
    days = days[days["session"].isin(volume.index[volume.notna().any(axis=1)])]
    asked = {"low": config.low_days, "normal": config.normal_days, "high": config.high_days}
    chosen = [_take(days[days["stratum"] == stratum], asked[stratum], config.seed) for stratum in STRATA]
    taken = pd.concat(chosen).sort_values("session")
    samples = _with_tickers(taken, volume, config.tickers_per_day)
    summary = pd.DataFrame(
        [_summarise(stratum, asked[stratum], config.tickers_per_day, days, taken, samples) for stratum in STRATA],
        columns=SUMMARY_COLUMNS,
    ).astype({"stratum": "str"})
    return Sampling(samples, summary)


def _require_sound_vix(rows: pd.DataFrame) -> None:
    twice = rows["session"].duplicated(keep=False)
    if twice.any():
        day = rows.loc[twice, "session"].iloc[0]
        raise DataError(f"the VIX has several closes on {day:%Y-%m-%d}; expected one per session, keep the right one")
    wrong = ~(rows["close"] > 0.0)
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise DataError(
            f"the VIX closes at {row['close']} on {row['session']:%Y-%m-%d}; expected a positive value, correct the row"
        )


def _require_sound_request(first: str, last: str, config: SamplingConfig) -> None:
    if parse_month(first) > parse_month(last):
        raise ConfigError(f"the sampling window ends ({last}) before it starts ({first}); give the months in order")
    for name in ("low_days", "normal_days", "high_days", "episode_gap"):
        if getattr(config, name) < 0:
            raise ConfigError(f"sampling.{name} is {getattr(config, name)}; expected 0 or more")
    for name in ("tickers_per_day", "dollar_volume_sessions"):
        if getattr(config, name) < 1:
            raise ConfigError(f"sampling.{name} is {getattr(config, name)}; expected 1 or more")


def _dollar_volume(bars: pd.DataFrame, window: int, first: str, last: str) -> pd.DataFrame:
    """Trailing dollar volume, one row per session of the months and one column per ticker; NaN where unranked."""
    known = bars.dropna(subset=["close", "volume"])
    known = known[is_session(known["session"].to_numpy())]
    _require_sound_bars(known)
    number = session_number(known["session"].to_numpy())
    session_months = month_of(known["session"].to_numpy())
    wanted = (session_months >= first) & (session_months <= last)
    if not wanted.any():
        nothing = pd.DatetimeIndex([], dtype="datetime64[us]")
        return pd.DataFrame(index=nothing, columns=pd.Index([], dtype="str"), dtype=np.float64)
    low, high = int(number[wanted].min()), int(number[wanted].max())
    near = (number > low - window) & (number <= high)
    tickers, column = np.unique(known.loc[near, "ticker"].to_numpy(dtype=str), return_inverse=True)
    traded = np.full((high - low + window, len(tickers)), np.nan)
    value = known["close"].to_numpy(dtype=np.float64) * known["volume"].to_numpy(dtype=np.float64)
    traded[number[near] - (low - window + 1), column] = value[near]
    # A sum of shifted rows, not a running total: what a day's sum is must not depend on where the table starts.
    total = np.zeros((high - low + 1, len(tickers)))
    for lag in range(window):
        total += traded[window - 1 - lag : len(traded) - lag]
    return pd.DataFrame(total, index=_sessions_between(low, high), columns=pd.Index(tickers, dtype="str"))


def _require_sound_bars(bars: pd.DataFrame) -> None:
    twice = bars.duplicated(["session", "ticker"], keep=False)
    wrong = (bars["close"] < 0.0) | (bars["volume"] < 0.0)
    for rows, what in ((bars[twice], "occurs more than once"), (bars[wrong], "has a negative close or volume")):
        if len(rows):
            row = rows.iloc[0]
            raise DataError(
                f"the bar of {row['ticker']} on {row['session']:%Y-%m-%d} {what} ({len(rows)} such rows); expected one "
                "sound bar per session and ticker, quarantine the others before sampling"
            )


def _sessions_between(low: int, high: int) -> pd.DatetimeIndex:
    """The sessions numbered `low` .. `high` of the exchange calendar."""
    return pd.DatetimeIndex(sessions()[low : high + 1].astype("datetime64[us]"), name="session")


def _take(days: pd.DataFrame, asked: int, seed: int) -> pd.DataFrame:
    """Up to `asked` rows of one stratum, in order of (rank within the episode, hash of the episode)."""
    draws = pd.DataFrame(
        {
            "episode": days["episode"],
            "day_hash": [_hash(seed, f"{day:%Y-%m-%d}") for day in days["session"]],
            "episode_hash": [_hash(seed, episode) for episode in days["episode"]],
        },
        index=days.index,
    )
    draws["rank"] = draws.groupby("episode")["day_hash"].rank(method="first")
    return days.loc[draws.sort_values(["rank", "episode_hash", "day_hash"], kind="stable").index[:asked]]


def _hash(seed: int, text: str) -> int:
    # Python's own hash() of a text differs between processes. 52 bits, so that ranking as float64 is exact.
    digest = hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 12


def _with_tickers(taken: pd.DataFrame, volume: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of `taken`, repeated for each of the `count` tickers with the largest volume of their session."""
    totals = volume.loc[taken["session"]].to_numpy()
    # Columns ascend by ticker and the sort is stable, so equal volumes are ordered by ticker; NaN comes last.
    order = np.argsort(-totals, axis=1, kind="stable")[:, :count]
    day, place = np.nonzero(~np.isnan(np.take_along_axis(totals, order, axis=1)))
    rows = taken.iloc[day].assign(ticker=volume.columns.take(order[day, place]))
    return rows[SAMPLE_COLUMNS].sort_values(["session", "ticker"], kind="stable").reset_index(drop=True)


def _summarise(
    stratum: str, asked: int, tickers: int, days: pd.DataFrame, taken: pd.DataFrame, samples: pd.DataFrame
) -> dict[str, str | int]:
    found, used = days[days["stratum"] == stratum], taken[taken["stratum"] == stratum]
    return {
        "stratum": stratum,
        "asked_days": asked,
        "found_days": len(found),
        "taken_days": len(used),
        "episodes_found": int(found["episode"].nunique()),
        "episodes_taken": int(used["episode"].nunique()),
        "asked_rows": asked * tickers,
        "taken_rows": int((samples["stratum"] == stratum).sum()),
    }
