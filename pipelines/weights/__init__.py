"""Finding, fetching and checking the weights of networks."""
