"""A local exchange that speaks OKX's v5 REST over loopback, so that the real client can be run without an account.

What belongs here: the protocol (paths, parameters, pages, limits, errors, faults) and what it is backed by. What does
not: how the simulated market behaves (`market.crypto_simulator`).
"""
