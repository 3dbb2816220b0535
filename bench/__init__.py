"""Measurements; each module is run by `make bench` and asserts nothing about time."""
