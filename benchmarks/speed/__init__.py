"""Speed beside a reference, measured interleaved in one run: ratios, not claims.

Rows of time run ours and the reference in turns, several rounds, and report medians of either and
of the rounds' ratios, so that whatever else the machine does hits both alike.  What has no such
reference (a bar, a roof, memory, success) says so in its note.  `runner.measures` says which rows
there are.
"""
