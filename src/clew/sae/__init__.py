"""Sparse autoencoders: train, judge, load, keep."""
