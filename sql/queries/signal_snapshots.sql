-- Signals of a span of hours, both ends included.
-- returns: signal_id text, hour timestamp, known_at timestamp, coin text, side text, score double
-- returns: confidence double, factor_t double, factor_m double, factor_c double, factor_v double, factor_o double
-- returns: factor_b double, factor_f double, factor_i double, market_regime double, flags text, price double
-- returns: atr14 double, funding_8h double, closed_bars integer, defect integer, p_target double, p_stop double
-- returns: p_timeout double, target_bps double, stop_bps double, expected_cost_bps double
-- returns: expected_funding_bps double, ev_bps double, calibrated integer, gate_data integer, gate_fund integer
-- returns: gate_market integer, gate_ev integer, verdict text, reason text, calibration_version text
-- returns: cost_version text, threshold_version text
SELECT
    signal_id, hour, known_at, coin, side, score, confidence, factor_t, factor_m, factor_c, factor_v, factor_o,
    factor_b, factor_f, factor_i, market_regime, flags, price, atr14, funding_8h, closed_bars, defect, p_target,
    p_stop, p_timeout, target_bps, stop_bps, expected_cost_bps, expected_funding_bps, ev_bps, calibrated, gate_data,
    gate_fund, gate_market, gate_ev, verdict, reason, calibration_version, cost_version, threshold_version
FROM signal_snapshots
WHERE hour BETWEEN :first AND :last
ORDER BY hour, signal_id;
