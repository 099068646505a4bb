"""Views of one verification report: the JSON is the truth, HTML and Markdown are made from it."""
