"""Make a failing case small."""
