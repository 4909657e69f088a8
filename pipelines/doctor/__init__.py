"""What this machine has, each part tried."""
