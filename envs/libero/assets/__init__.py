"""The models an environment is built from: LIBERO's own, or primitive ones made here.

**Primitive** assets are boxes, rings and cylinders with LIBERO's joints, sites, masses and
dimensions: nothing to download, quick to simulate and to draw, and the official tasks and initial
states run on them. **Official** assets are LIBERO's own, found on disk or fetched.
"""

from .primitive import primitive_assets_dir, primitive_digest, write_primitive_assets
from .resolve import AssetFolder, assets_digest, fetch_official_assets, resolve_assets

__all__ = [
    "AssetFolder",
    "assets_digest",
    "fetch_official_assets",
    "primitive_assets_dir",
    "primitive_digest",
    "resolve_assets",
    "write_primitive_assets",
]
