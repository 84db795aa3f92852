"""Made-up rows with targets for the tests of the short-term models: what can be found in them is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.frames import KEYS
from butterquant_assets.butterfly.short_term import REFERENCES, TARGETS, direction_of, quiet_of
from butterquant_assets.butterfly.short_term_training import ShortTermConfig
from butterquant_tests.butterfly.cases import session_range

SMALL = ShortTermConfig(minimum_train_rows=400, minimum_train_episodes=8, step_rows=400)
GARCH_BIAS = 1.2
HIDDEN, TILT = "iv_percentile", "momentum_7d"
DATA_VERSIONS = {"butterfly/short_term_set": "0" * 16}


@lru_cache
def made_up_rows(planted: bool = True, days: int = 120, tickers: int = 10, seed: int = 5) -> pd.DataFrame:
    """Rows of sampled sessions six apart, five to an episode.

    GARCH knows the log of variance up to noise, and is too high by `GARCH_BIAS` in volatility. Where something is
    planted, `HIDDEN` moves the log of variance and `TILT` the mean of the return, and no reference knows of either.
    """
    random = np.random.default_rng(seed)
    calendar = session_range("2012-01-03", 6 * days + 8)
    count = days * tickers
    day = np.repeat(np.arange(days), tickers)
    level = np.log(0.22**2) + 0.7 * np.sin(day / 9) + 0.5 * random.standard_normal(count)
    hidden, tilt = random.random(count), random.uniform(-1, 1, count)
    variance = np.exp(level + (2.4 * (hidden - 0.5) if planted else 0.0))
    steps = random.standard_normal((count, 7)) * np.sqrt(variance / 252)[:, None]
    if planted:
        steps += (1.2 * tilt * np.sqrt(variance / 252) / np.sqrt(7))[:, None]
    known = np.exp(level)
    frame = pd.DataFrame(
        {
            "session": calendar[6 * day],
            "ticker": pd.Series([f"T{k:02d}" for k in range(tickers)] * days, dtype="str"),
            "stratum": "normal",
            "episode": pd.Series([f"normal-{number // 5:03d}" for number in day], dtype="str"),
            "target_session": calendar[6 * day + 7],
            "garch_vol_7": GARCH_BIAS * np.sqrt(known) * np.exp(0.1 * random.standard_normal(count)),
            "realised_vol_7": np.sqrt(252 / 7 * (steps**2).sum(axis=1)),
            "return_7": np.exp(steps.sum(axis=1)) - 1,
        }
    )
    for name, horizon in (("rv_1", 1), ("rv_5", 5), ("rv_22", 22)):
        frame[name] = known * random.chisquare(horizon, count) / horizon
    frame["direction_7"], frame["quiet_7"] = direction_of(frame["return_7"]), quiet_of(frame["return_7"])
    for name in FEATURES:
        frame[name] = random.standard_normal(count)
    frame[HIDDEN], frame[TILT] = hidden, tilt
    frame["vix_level"] = 100 * np.exp(0.5 * (np.log(0.18**2) + 0.7 * np.sin(day / 9)))
    frame.loc[::17, "skew_estimate"] = np.nan
    columns = [*KEYS, "stratum", "episode", "target_session", *FEATURES, *REFERENCES, *TARGETS]
    return frame[columns].sort_values(list(KEYS), kind="stable").reset_index(drop=True)
