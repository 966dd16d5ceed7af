"""Agents behind Stable-Baselines3's interface."""
