"""Lists the packages; everything else about the project is in pyproject.toml.

`envs/` and `benchmarks/` lie at the top of the repository but are installed inside
`mbrl_agents`: a top-level package called `envs` would shadow, or be shadowed by, a user's own.
pyproject.toml can map folders to package names but cannot search a mapped folder for packages.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "mbrl_agents": "mbrl_agents",
    "mbrl_agents.envs": "envs",
    "mbrl_agents.benchmarks": "benchmarks",
}


def packages() -> list[str]:
    found = []
    for package, folder in FOLDERS.items():
        found.append(package)
        found.extend(f"{package}.{name}" for name in find_packages(folder))
    return found


setup(packages=packages(), package_dir=FOLDERS)
