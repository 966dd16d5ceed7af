"""Benchmark suites, the runner that fills their tables, and the reports written from them.

Installed as ``mbrl_agents.benchmarks``.
"""

if __name__ == "benchmarks":
    raise ImportError(
        "this folder is the package mbrl_agents.benchmarks; install the project "
        "(pip install -e .) and import it under that name"
    )
