"""A run: one method trained into a folder, and read back."""
