"""Planners and objectives: tensors in, tensors out; see `mbrl_agents.registry` for their names."""
