"""Command lines, data sets and recipes: the only part that prints or parses arguments."""
