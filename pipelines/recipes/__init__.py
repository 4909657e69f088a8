"""The papers as settings, and the tables that their results are held against."""
