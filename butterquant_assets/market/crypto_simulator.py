"""A market of simulated perpetual swaps, hour by hour, in which it is known what can be found.

For coin i in hour t, with z, e standard normals drawn once and used nowhere else:

    log return  r_it = beta_i sqrt(w_t) z_t + sqrt(u_it) e_it - v_it / 2 + d_it,   v_it = beta_i^2 w_t + u_it
    BTC factor  w_t  = BTC_VOL^2 * regime_t^2 * exp(path_t) * (JUMP_VARIANCE if the hour jumps else 1)
    own part    u_it = own_vol_i^2 * regime_t * exp(path_it) * (JUMP_VARIANCE if the hour jumps else 1)

regime is a Markov chain over calm, ordinary and stressed hours. The variances are exogenous: nothing that happens to
prices moves them. With ``edge = 0`` (d = 0) **the price is therefore a martingale whatever anyone knows**: no regime
has a drift, and no factor predicts a return. Everything else follows prices and never leads them: taker flow leans
with the return, crowding accumulates returns and flow, the premium over the index and so the funding rate follow
crowding, open interest follows its own noise and falls in jumps. (Funding itself is paid by the crowded side and is no
part of the return.)

``edge > 0`` plants one thing: strong trends pay, undisputed ones. With all windows ending at the close of hour t - 1,
s(x) = tanh(x / (2 scale)), where scale is 1.2533 x the exponentially weighted mean of |x| over about 720 h,

    S = .35 s(24 h return) + .15 s(24 h signed volume / 24 h volume) + .15 s(24 h OI change x sign of the 24 h return)
        + .35 s(log of 6 h volume over a quarter of 24 h volume x sign of the 6 h return)
    F = 100 (.6 s(6 h signed volume / 24 h volume) + .4 s(6 h OI change) - s(6 h return)) / 2
    g = sign(S) |S|^STEEPNESS (1 if sign(S) F >= -PLANTED_THRESHOLD else -DISPUTED)
    P_t = MEMORY P_(t-1) + (1 - MEMORY) g          (0 at the start)
    d_it = edge DRIFT sqrt(v_it) P_t

so that what several factors agree on goes on for about a day, which is as long as a position is held, and pays more
than in proportion to how strongly they agree: a weak score tells next to nothing. Where the money that moved before
the price stands against it by more than the threshold the drift turns, and harder: directional fund leading below -15
is what the F gate has to reject. Drift is carried over hours because F changes faster than a position ends: without
that, what F and the score said at the entry is undone before its result. It blurs the threshold in return: at edge 1
(20 coins, a year, two seeds) mean x sqrt(n) of trades is highest at -20, 1 % lower at -15 and 6 % at -10.
At edge 1 the mean of abs(d) / sqrt(v) is about .26 and its maximum 2.6 where 20 coins are simulated for a year.

`CryptoHours.drift` is d itself, so the attainable is known: no rule earns more per hour before costs, in units of that
hour's volatility, than the mean of abs(d) / sqrt(v), and its hit rate is at most the mean of Phi(abs(d) / sqrt(v)).

Outages (one day in 50, two to eight hours) stop trading but not the world: the last price stands still on zero volume
while index and mark move on, and the first bar afterwards opens where the fair price is.

Every day has streams of its own by (seed, purpose, coin, day), and a day is computed from the state the day before
left: more days or more coins change no byte of what was there before.

What belongs here: pure functions of a seed. What does not: trades and books inside an hour (`crypto_microstructure`),
and how an exchange speaks (`exchange`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import InsufficientHistoryError
from butterquant_assets.market.crypto_prices import prices_of_day, settlements_of_day
from butterquant_assets.market.crypto_state import (
    FIELDS,
    HOURS,
    NEUTRAL_FUNDING,
    TAIL,
    Bools,
    CryptoHours,
    CryptoMarketConfig,
    Draws,
    MarketState,
    initial_state,
)
from butterquant_assets.market.crypto_traits import (
    INTERVAL_DAYS,
    LOTS_PER_CONTRACT,
    CoinTraits,
    Floats,
    draw_traits,
    funding_intervals,
)

PLANTED_THRESHOLD = 15.0
"""Of the F factor's scale: trends with F against them beyond this are the planted losers."""

DRIFT = 8.0
"""Drift in hourly volatilities, at edge 1, were all the planted score could say said for hours."""

STEEPNESS = 1.5
"""How much faster than the score its drift grows: 1 would be in proportion."""

DISPUTED = 1.75
"""Drift against a disputed trend, relative to the drift along an undisputed one."""

MEMORY = 0.94
"""Of the drift after an hour; half is left after eleven."""

_SCORE = np.array([0.35, 0.15, 0.15, 0.35])
"""Weights of trend, flow, open interest and volume in the planted score."""

BTC_VOL = 0.0045
JUMP_VARIANCE = 25.0
JUMP_CHANCE = 1 / 500
REGIME_VOL = np.array([0.6, 1.0, 2.0])
REGIME_LEAVE = np.array([1 / 240, 1 / 300, 1 / 72])
PATH_DECAY, PATH_SHOCK = 0.98, 0.12
PATH_MEAN = PATH_SHOCK**2 / (1 - PATH_DECAY**2) / 2
"""Half the stationary variance of the log-variance path: subtracted so that its exponential has mean 1."""

SCALE_DECAY = 1 - 1 / 720
_MARKET, _COIN, _OUTAGE = 2, 3, 4


def simulate_day(config: CryptoMarketConfig, traits: CoinTraits, state: MarketState) -> tuple[MarketState, CryptoHours]:
    """The 24 hours that follow `state`, and the state they leave.

    Parameters
    ----------
    config
        the market
    traits
        `draw_traits(config.seed, config.coins)`
    state
        of the end of the day before

    Returns
    -------
    MarketState, CryptoHours
        the hours have shape (24, N)
    """
    draws = _draw(config.seed, state.day, config.coins)
    after, rows = _walk(config.edge, traits, state, draws)
    priced = prices_of_day(traits, state, draws, rows)
    interval = state.interval
    if state.day % INTERVAL_DAYS == 0:
        interval = funding_intervals(config.seed, traits, state.day)
    funding = settlements_of_day(interval, state.premiums, rows["premium"])
    alive = (traits.listed_day <= state.day) & (state.day < traits.delisted_day)
    columns = {name: rows[name] for name in ("premium", "drift", "variance")} | priced
    columns |= {"funding": funding, "interval": np.tile(interval.astype(float), (HOURS, 1))}
    columns |= {name: rows[name] / LOTS_PER_CONTRACT for name in ("volume", "taker_buy")}
    columns["open_interest"] = np.round(np.exp(rows["interest"]) * LOTS_PER_CONTRACT) / LOTS_PER_CONTRACT
    hours = CryptoHours(**{name: np.where(alive, columns[name], np.nan) for name in FIELDS})
    after = replace(
        after,
        frozen=priced["close"][-1],
        mark=priced["mark_close"][-1],
        index=priced["index_close"][-1],
        premiums=rows["premium"],
        interval=interval,
    )
    return after, hours


class CryptoMarket:
    """A simulated market that computes each day once, when it is first asked for.

    What it returns depends on the configuration alone, not on what was asked before.
    """

    def __init__(self, config: CryptoMarketConfig) -> None:
        self.config = config
        self.traits = draw_traits(config.seed, config.coins)
        self.first_hour = int(np.datetime64(config.first_day, "h").astype(np.int64))
        """Hours from 1970-01-01 UTC to the first hour of the market."""
        self._state = initial_state(self.traits)
        self._days: list[CryptoHours] = []

    def hours(self, first: int, end: int) -> CryptoHours:
        """The hours first <= t < end, both counted from 1970-01-01 UTC.

        Raises
        ------
        InsufficientHistoryError
            if the range begins before the market or is empty.
        """
        if not self.first_hour <= first < end:
            raise InsufficientHistoryError(
                f"hours {first} .. {end} were asked for; the simulated market begins at hour {self.first_hour} "
                f"({self.config.first_day}) and a range needs at least one hour"
            )
        low, high = (first - self.first_hour) // HOURS, -(-(end - self.first_hour) // HOURS)
        while len(self._days) < high:
            self._state, day = simulate_day(self.config, self.traits, self._state)
            self._days.append(day)
        blocks = self._days[low:high]
        cut = slice(first - self.first_hour - low * HOURS, end - self.first_hour - low * HOURS)
        return CryptoHours(**{name: np.concatenate([getattr(b, name) for b in blocks])[cut] for name in FIELDS})

    def alive(self, coin: int, hour: int) -> bool:
        """Whether the coin has a market in this hour."""
        day = (hour - self.first_hour) // HOURS
        return bool(self.traits.listed_day[coin] <= day < self.traits.delisted_day[coin])


def _draw(seed: int, day: int, coins: int) -> Draws:
    common = np.random.default_rng([seed, _MARKET, 0, day])
    market, market_uniform = common.standard_normal((HOURS, 2)), common.random((HOURS, 2))
    normal, uniform = np.empty((7, HOURS, coins)), np.empty((3, HOURS, coins))
    outage = np.zeros((HOURS, coins), dtype=bool)
    for coin in range(coins):
        stream = np.random.default_rng([seed, _COIN, coin, day])
        normal[:, :, coin] = stream.standard_normal((7, HOURS))
        uniform[:, :, coin] = stream.random((3, HOURS))
        outage[:, coin] = _outage_hours(stream.random(3), chance=1 / 300)
    outage |= _outage_hours(np.random.default_rng([seed, _OUTAGE, 0, day]).random(3), chance=1 / 60)[:, None]
    return Draws(market, market_uniform, normal, uniform, outage)


def _outage_hours(draw: Floats, chance: float) -> Bools:
    first, length = int(draw[1] * (HOURS - 8)), 2 + int(draw[2] * 7)
    hours = np.arange(HOURS)
    halted: Bools = (draw[0] < chance) & (hours >= first) & (hours < first + length)
    return halted


def _walk(
    edge: float, traits: CoinTraits, state: MarketState, draws: Draws
) -> tuple[MarketState, dict[str, npt.NDArray[np.float64]]]:
    """Hour by hour what depends on the hour before: levels, flow, volume, open interest, premium."""
    count = len(traits.names)
    names = ("level", "volume", "taker_buy", "interest", "premium", "drift", "variance")
    rows = {name: np.empty((HOURS, count)) for name in names}
    levels, volumes = _extended(state.levels), _extended(state.volumes)
    signed, interest = _extended(state.signed), _extended(state.interest)
    regime, market_path, own_path = state.regime, state.market_path, state.own_path
    flow_mood, volume_mood = state.flow_mood, state.volume_mood
    crowding, premium_noise = state.crowding, state.premium_noise
    scales, carried = state.scales, state.carried
    rest = np.log(traits.interest_dollars / (traits.start_price * traits.contract_value))
    lots = LOTS_PER_CONTRACT * traits.dollars / traits.contract_value / traits.start_price
    for hour in range(HOURS):
        shock, own_noise, flow_noise, volume_noise, interest_noise, crowd_noise, basis_noise = draws.normal[:, hour]
        regime = _next_regime(regime, draws.market_uniform[hour, 0])
        jumps = draws.uniform[2, hour] < JUMP_CHANCE
        market = (BTC_VOL * REGIME_VOL[regime]) ** 2 * np.exp(market_path - PATH_MEAN)
        market *= JUMP_VARIANCE if draws.market_uniform[hour, 1] < JUMP_CHANCE else 1.0
        own = traits.own_vol**2 * REGIME_VOL[regime] * np.exp(own_path - PATH_MEAN) * np.where(jumps, JUMP_VARIANCE, 1)
        variance = traits.beta**2 * market + own
        now = TAIL + hour
        if edge > 0:
            strength, scales = _planted(scales, levels, volumes, signed, interest, now)
            carried = MEMORY * carried + (1 - MEMORY) * strength
        drift = edge * DRIFT * np.sqrt(variance) * carried
        surprise = traits.beta * np.sqrt(market) * draws.market[hour, 0] + np.sqrt(own) * shock
        levels[now] = levels[now - 1] + surprise - variance / 2 + drift

        standard = surprise / np.sqrt(variance)
        flow_mood = 0.85 * flow_mood + 0.25 * flow_noise
        volume_mood = 0.9 * volume_mood + 0.2 * volume_noise
        share = 0.8 * np.tanh(0.35 * standard + flow_mood)
        season = 1 + 0.35 * np.sin(2 * np.pi * (hour - 8) / HOURS)
        amount = lots * np.exp(volume_mood - levels[now]) * season * (0.6 + 0.5 * np.abs(standard))
        halted = draws.outage[hour]
        rows["volume"][hour] = volume = np.where(halted, 0.0, np.maximum(np.round(amount), 200.0))
        rows["taker_buy"][hour] = buys = np.round(volume * (1 + share) / 2)
        volumes[now], signed[now] = volume, 2 * buys - volume
        pull = 0.004 * (rest - levels[now] * 0.3 - interest[now - 1])
        change = pull + 0.006 * interest_noise - 0.03 * (np.abs(standard) > 3.0) - 0.04 * jumps
        interest[now] = interest[now - 1] + np.where(halted, 0.0, change)
        crowding = 0.97 * crowding + 0.25 * standard + 0.2 * share + 0.15 * crowd_noise
        premium_noise = 0.7 * premium_noise + 1.5e-4 * basis_noise
        rows["premium"][hour] = NEUTRAL_FUNDING + 4e-4 * crowding + premium_noise
        rows["level"][hour], rows["interest"][hour] = levels[now], interest[now]
        rows["drift"][hour], rows["variance"][hour] = drift, variance
        market_path = PATH_DECAY * market_path + PATH_SHOCK * draws.market[hour, 1]
        own_path = PATH_DECAY * own_path + PATH_SHOCK * own_noise
    return (
        replace(
            state,
            day=state.day + 1,
            regime=regime,
            market_path=float(market_path),
            own_path=own_path,
            level=levels[-1],
            flow_mood=flow_mood,
            volume_mood=volume_mood,
            crowding=crowding,
            premium_noise=premium_noise,
            scales=scales,
            carried=carried,
            levels=levels[-TAIL:],
            volumes=volumes[-TAIL:],
            signed=signed[-TAIL:],
            interest=interest[-TAIL:],
        ),
        rows,
    )


def _extended(tail: Floats) -> Floats:
    return np.concatenate([tail, np.empty((HOURS, tail.shape[1]))])


def _next_regime(regime: int, draw: float) -> int:
    leave = REGIME_LEAVE[regime]
    if draw >= leave:
        return regime
    if regime == 1:
        return 0 if draw < leave / 2 else 2
    return 1


def _planted(
    scales: Floats, levels: Floats, volumes: Floats, signed: Floats, interest: Floats, now: int
) -> tuple[Floats, Floats]:
    """What the coming hour adds to the drift (g of the module), from what is published at its start; and the scales."""
    day, quarter = slice(now - 24, now), slice(now - 6, now)
    traded = np.maximum(volumes[day].sum(axis=0), 1.0)
    moved, trend = (levels[now - 1] - levels[now - 1 - hours] for hours in (6, 24))
    lately = np.log(4 * np.maximum(volumes[quarter].sum(axis=0), 1.0) / traded)
    inputs = np.stack(
        [
            signed[quarter].sum(axis=0) / traded,
            interest[now - 1] - interest[now - 7],
            moved,
            trend,
            signed[day].sum(axis=0) / traded,
            (interest[now - 1] - interest[now - 25]) * np.sign(trend),
            lately * np.sign(moved),
        ]
    )
    scored = np.tanh(inputs / (2 * 1.2533 * scales))
    leading = 100 * (0.6 * scored[0] + 0.4 * scored[1] - scored[2]) / 2
    score = np.einsum("k,kn->n", _SCORE, scored[3:])
    stands = np.where(np.sign(score) * leading >= -PLANTED_THRESHOLD, 1.0, -DISPUTED)
    strength: Floats = np.sign(score) * np.abs(score) ** STEEPNESS * stands
    return strength, SCALE_DECAY * scales + (1 - SCALE_DECAY) * np.abs(inputs)
