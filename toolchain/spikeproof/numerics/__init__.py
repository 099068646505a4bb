"""Arithmetic shared by conversion, certificates and engines: correlation, affine maps."""
