"""Timings beside raw JAX and other libraries."""
