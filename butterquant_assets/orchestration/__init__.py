"""The Dagster pieces that lines share: partitions, IO manager, asset and check factories, freshness adapter."""
