"""Train and evaluate networks on pictures, recordings and segments."""
