"""Draw random chip networks, their edges and their inputs."""
