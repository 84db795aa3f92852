"""Sources of crypto market data: the simulated market, folders of recordings, and the collector's store."""
