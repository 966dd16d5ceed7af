"""Rollouts of any predictor, and the statistics reported about them."""
