"""Episodes in memory and on disk, and how they are collected."""
