"""The course homework that this toolkit began with, in its own words.

Its text names settings that no other part of this library has: `translation` turns them into the
library's, `experiment` runs one of its experiments, `files` writes what the course hands in.
"""
