"""A scripted demonstrator: a skill for each kind of goal.

It is memoryless: the action is a function of the present poses alone, with no phase, counter or
timer.  A policy cloned from it therefore never sees one observation with two labels.
"""

from .choice import Demonstrated, expert_for
from .motion import Expert

__all__ = ["Demonstrated", "Expert", "expert_for"]
