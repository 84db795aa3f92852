"""Raw market data: the sources, and the assets that hold what the sources delivered."""
