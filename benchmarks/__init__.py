"""Measurements of the product beside references; `make bench` runs them all."""
