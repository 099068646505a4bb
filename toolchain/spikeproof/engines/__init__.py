"""Run networks: the reference simulator (the specification), the fast engine, the float stages."""
