"""Benchmarks that `make bench` runs; they assert nothing about time."""
