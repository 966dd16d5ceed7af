"""Finished runs in the forms that others load: a course's leaderboard, the hub, a zip to submit."""
