"""Pure mathematics: arrays in, arrays out. Knows neither Dagster nor files nor the clock."""
