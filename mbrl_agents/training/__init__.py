"""Fitting world models and policies to episodes, and keeping what was fitted."""
