"""The crypto signal line: hourly factors, scores, gates, and what came of the signals."""
