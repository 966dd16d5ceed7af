"""Action priors learned from data; see `mbrl_agents.registry` for their names."""
