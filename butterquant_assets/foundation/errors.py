"""The error family.

Every error a user can meet belongs here. A message names the value, what was expected and what to do next;
it never contains a secret. Errors of programming (a wrong type, a broken invariant) stay built-in exceptions.
"""

from __future__ import annotations


class ButterQuantError(Exception):
    """Base of all errors this package raises on purpose."""


class ConfigError(ButterQuantError):
    """A setting or command-line value is unknown, contradictory or unusable. The command line exits with 2."""


class DataError(ButterQuantError):
    """Input data cannot be used as it is."""


class SourceError(DataError):
    """A source does not deliver: a file is missing, truncated or lacks a column; a service refuses or lies."""


class SchemaError(DataError):
    """A table breaks its contract (columns, types, keys, ranges)."""


class InsufficientHistoryError(DataError):
    """A series is too short for what was asked of it."""


class FitError(DataError):
    """A model has no sensible fit on this series (constant, explosive, not converged)."""


class ArbitrageError(DataError):
    """A price violates a no-arbitrage bound, for instance a butterfly debit outside (0, width)."""


class LakeError(ButterQuantError):
    """A lake file is missing where it must exist, corrupt, or written by something else."""


class DamagedFileError(LakeError):
    """A lake file is there but is no file of this lake: truncated, altered, or of another version. It is made again."""


class ModelStoreError(ButterQuantError):
    """A stored model is incomplete, altered, or does not match its card."""


class WarehouseError(ButterQuantError):
    """The warehouse cannot be reached, or its schema is not the one this version needs."""
