"""Compiled kernels of the fast engine (numba). Loaded late: numba is an optional dependency."""
