"""Say what is in a file as one typed document: what ``inspect`` shows and prints as JSON."""
