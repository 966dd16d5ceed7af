"""World models: one module each; see `mbrl_agents.registry` for their names."""
