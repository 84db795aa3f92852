"""ButterQuant Assets: a trading-research operation as a Dagster asset graph."""
