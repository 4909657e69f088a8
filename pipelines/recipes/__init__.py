"""The papers' settings, and the tables to compare results with."""
