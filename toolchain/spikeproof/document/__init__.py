"""What every document is made of: typed values, and how figures and tables are written."""
