"""Where market data comes from. Each source does I/O, knows no Dagster, and can be asked for any month again."""
