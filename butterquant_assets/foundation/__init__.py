"""What every layer stands on: settings, calendar, lake, warehouse, models, freshness, errors, plots. No Dagster."""
