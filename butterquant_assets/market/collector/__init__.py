"""Collecting crypto market data from an exchange that speaks OKX's v5 REST, into the collector's store.

What belongs here: asking politely, judging what came, and knowing what is still missing. What does not: the store's
files (`crypto_sources/store.py`), cleaning (`crypto_cleaning.py`), and the graph, which never touches the network.
"""
