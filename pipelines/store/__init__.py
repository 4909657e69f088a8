"""Looking after a feature store."""
