"""Foreign formats: what other tools read and write, kept equal to ours bit for bit."""
