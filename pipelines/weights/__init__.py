"""Finds, fetches and checks the weights of networks."""
