"""The batched decomposition against a plain one, row by row, and on signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant import spectrum

N = 505


def plain_decompose(closes, volumes):
    """One window, in loops, with sines and cosines written out instead of a Fourier transform."""
    size = 480
    vwap = [
        sum(closes[t - lag] * volumes[t - lag] for lag in range(20)) / sum(volumes[t - lag] for lag in range(20))
        for t in range(len(closes) - size, len(closes))
    ]
    x = np.array([closes[len(closes) - size + i] - vwap[i] for i in range(size)])
    times = np.arange(size)

    def amplitudes(values):
        angles = [2 * np.pi * k * times / size for k in range(size // 2 + 1)]
        return [(values @ np.cos(angle), values @ np.sin(angle)) for angle in angles]

    taper = 0.5 - 0.5 * np.cos(2 * np.pi * times / (size - 1))
    power = {k: a * a + b * b for k, (a, b) in enumerate(amplitudes((x - x.mean()) * taper)) if k > 0}
    strongest = max((k for k in power if 7 < size / k < 180), key=lambda k: power[k])
    slow, cycle = np.array(vwap) + x.mean(), np.zeros(size)
    for k, (a, b) in enumerate(amplitudes(x)):
        if k == 0:
            continue
        angle = 2 * np.pi * k * times / size
        wave = (a * np.cos(angle) + b * np.sin(angle)) * (1 if k == size // 2 else 2) / size
        if size / k >= 60:
            slow = slow + wave
        elif size / k >= 5:
            cycle = cycle + wave
    return size / strongest, 100 * power[strongest] / sum(power.values()), slow, cycle


def random_windows(count, seed):
    rng = np.random.default_rng(seed)
    closes = 80.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.015, (count, N)), axis=1))
    return closes, rng.lognormal(15, 0.6, (count, N))


@pytest.fixture(scope="module")
def windows():
    return random_windows(40, seed=1)


def test_the_batched_decomposition_equals_the_plain_one(windows):
    closes, volumes = windows
    found = spectrum.decompose(closes, volumes)
    for row in range(len(closes)):
        period, strength, trend, cycle = plain_decompose(closes[row], volumes[row])
        assert found.dominant_period[row] == pytest.approx(period, rel=1e-12)
        assert found.period_strength[row] == pytest.approx(strength, abs=1e-10)
        np.testing.assert_allclose(found.trend[row], trend, atol=1e-10)
        np.testing.assert_allclose(found.cycle[row], cycle, atol=1e-10)


def test_a_row_alone_gives_the_same_bytes_as_among_others(windows):
    closes, volumes = (np.tile(part, (20, 1)) for part in windows)
    assert len(closes) > spectrum.CHUNK
    together = spectrum.decompose(closes, volumes)
    for row in (0, 7, spectrum.CHUNK - 1, spectrum.CHUNK, len(closes) - 1):
        alone = spectrum.decompose(closes[[row]], volumes[[row]])
        for name in ("dominant_period", "period_strength", "trend", "cycle"):
            assert getattr(alone, name)[0].tobytes() == getattr(together, name)[row].tobytes(), name


def test_values_before_the_last_499_change_nothing(windows):
    closes, volumes = windows
    changed_closes, changed_volumes = closes.copy(), volumes.copy()
    changed_closes[:, : N - 499] *= 3.0
    changed_volumes[:, : N - 499] = np.nan
    before, after = spectrum.decompose(closes, volumes), spectrum.decompose(changed_closes, changed_volumes)
    for name in ("dominant_period", "period_strength", "trend", "cycle"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_the_499th_value_from_the_end_does_matter(windows):
    closes, volumes = windows
    changed = closes.copy()
    changed[:, N - 499] *= 1.5
    assert (spectrum.decompose(changed, volumes).trend != spectrum.decompose(closes, volumes).trend).any(axis=1).all()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(bin_number=st.integers(9, 68), phase=st.floats(0, 6.28), level=st.floats(5, 5000))
def test_a_pure_wave_is_found_with_its_period_and_lies_in_the_cycle(bin_number, phase, level):
    period = 480 / bin_number
    wave = 0.02 * level * np.sin(2 * np.pi * np.arange(N) / period + phase)
    found = spectrum.decompose((level + wave)[None], np.ones((1, N)))
    assert found.dominant_period[0] == pytest.approx(period)
    # A Hann window spreads a wave over three bins with powers 1/4, 1, 1/4.
    assert found.period_strength[0] == pytest.approx(100 / 1.5, abs=1.0)
    vwap_of_wave = np.convolve(wave, np.ones(20) / 20, "valid")[-480:]
    np.testing.assert_allclose(found.cycle[0], wave[-480:] - vwap_of_wave, atol=1e-9 * level)
    np.testing.assert_allclose(found.trend[0], level + vwap_of_wave, atol=1e-9 * level)


def test_the_newest_value_is_not_forced_to_zero():
    # What a window multiplied in before reconstructing would do: the cycle's last value would vanish.
    wave = np.sin(2 * np.pi * (np.arange(N) - N + 1) / 24 + np.pi / 2)
    found = spectrum.decompose(100 + wave[None], np.ones((1, N)))
    assert found.cycle[0, -1] > 0.8


def test_trend_cycle_and_what_is_faster_than_five_sessions_add_up_to_the_close(windows):
    closes, volumes = windows
    found = spectrum.decompose(closes, volumes)
    rest = np.fft.rfft(closes[:, -480:] - found.trend - found.cycle, axis=1)
    np.testing.assert_allclose(np.abs(rest[:, :97]), 0.0, atol=1e-8)
    assert (np.abs(rest[:, 97:]).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize(("bin_number", "in_trend"), [(8, True), (9, False)])
def test_the_period_sixty_belongs_to_the_trend_and_shorter_ones_to_the_cycle(bin_number, in_trend):
    wave = np.sin(2 * np.pi * np.arange(N) * bin_number / 480)
    found = spectrum.decompose(100 + wave[None], np.ones((1, N)))
    size = np.abs(found.cycle).max()
    assert (size < 1e-9) if in_trend else (size > 0.5)


@pytest.mark.parametrize(("bin_number", "seen"), [(2, False), (3, True), (68, True), (69, False)])
def test_only_periods_strictly_between_7_and_180_can_dominate(bin_number, seen):
    wave = np.sin(2 * np.pi * np.arange(N) * bin_number / 480)
    found = spectrum.decompose(100 + wave[None], np.ones((1, N)))
    assert bool(found.dominant_period[0] == pytest.approx(480 / bin_number)) is seen
    assert 7 < found.dominant_period[0] < 180


@pytest.mark.parametrize("price", [0.37, 100.0, 812_345.1])
def test_a_price_that_never_moves_has_the_default_period_and_no_strength(price):
    volumes = np.random.default_rng(2).lognormal(15, 1, (1, N))
    found = spectrum.decompose(np.full((1, N), price), volumes)
    assert found.dominant_period[0] == 30.0
    assert found.period_strength[0] == 0.0
    np.testing.assert_allclose(found.trend, price, rtol=1e-12)
    np.testing.assert_allclose(found.cycle, 0.0, atol=1e-9 * price)


def test_the_unit_of_price_and_volume_does_not_matter(windows):
    closes, volumes = windows
    found, scaled = spectrum.decompose(closes, volumes), spectrum.decompose(10 * closes, 1000 * volumes)
    np.testing.assert_array_equal(found.dominant_period, scaled.dominant_period)
    np.testing.assert_allclose(found.period_strength, scaled.period_strength, rtol=1e-9)
    np.testing.assert_allclose(10 * found.trend, scaled.trend, rtol=1e-12)
    np.testing.assert_allclose(
        spectrum.trend_slope(found.trend, closes), spectrum.trend_slope(scaled.trend, 10 * closes), atol=1e-10
    )


def all_missing(found, row):
    return all(np.isnan(getattr(found, name)[row]).all() for name in found.__dataclass_fields__)


@pytest.mark.parametrize(
    ("part", "where", "value"),
    [
        ("volumes", slice(200, 220), 0.0),
        ("volumes", slice(N - 1, N), np.nan),
        ("volumes", slice(300, 301), np.inf),
        ("volumes", slice(300, 301), -1.0),
        ("closes", slice(N - 499, N - 498), np.nan),
        ("closes", slice(N - 1, N), np.inf),
    ],
)
def test_a_row_that_cannot_be_decomposed_is_missing_and_spoils_no_other(windows, part, where, value):
    closes, volumes = (values[:3].copy() for values in windows)
    {"closes": closes, "volumes": volumes}[part][1, where] = value
    found, sound = spectrum.decompose(closes, volumes), spectrum.decompose(*(values[:3] for values in windows))
    assert all_missing(found, 1)
    for row in (0, 2):
        np.testing.assert_array_equal(found.trend[row], sound.trend[row])
        assert found.dominant_period[row] == sound.dominant_period[row]


def test_nineteen_sessions_without_volume_leave_the_vwap_defined(windows):
    closes, volumes = (values[:1].copy() for values in windows)
    volumes[0, 200:219] = 0.0
    assert np.isfinite(spectrum.decompose(closes, volumes).trend).all()


def test_no_rows_give_no_results():
    found = spectrum.decompose(np.empty((0, N)), np.empty((0, N)))
    assert found.dominant_period.shape == (0,)
    assert found.trend.shape == (0, 480)


@pytest.mark.parametrize("shapes", [((3, 498), (3, 498)), ((3, N), (2, N)), ((N,), (N,))])
def test_windows_of_the_wrong_shape_are_refused(shapes):
    with pytest.raises(DataError, match="at least 499 sessions"):
        spectrum.decompose(np.ones(shapes[0]), np.ones(shapes[1]))


def test_the_slope_is_percent_of_the_price_per_session():
    trend = 100.0 + 0.5 * np.arange(480)[None]
    closes = np.full((1, N), 250.0)
    np.testing.assert_allclose(spectrum.trend_slope(trend, closes), [0.2])
    np.testing.assert_array_equal(spectrum.trend_slope(np.full((1, 480), np.nan), closes), [np.nan])


def test_a_slope_without_a_positive_price_is_refused():
    with pytest.raises(DataError, match=r"0\.0 is not positive"):
        spectrum.trend_slope(np.ones((1, 480)), np.zeros((1, N)))
    with pytest.raises(DataError, match="as many rows"):
        spectrum.trend_slope(np.ones((2, 480)), np.ones((1, N)))
