"""Published systems, a folder each; `mbrl_agents.registry` names the methods built on them."""
