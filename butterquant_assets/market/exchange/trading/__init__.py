"""The trading side of the local exchange: who may ask, an account with isolated margin, orders and what fills them.

What belongs here: one simulated account, its endpoints under account/ and trade/, and what the market does to it. What
does not: the market (`venue`), and any code that trades on a real exchange.
"""
