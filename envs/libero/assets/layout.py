"""Which files of an asset folder a task needs: LIBERO's folder layout as data.

The layout is hf-libero's (object classes in ``libero/libero/envs/objects``, scenes and their
floor and wall styles in ``envs/problems``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_FAMILIES: dict[str, tuple[str, ...]] = {
    "stable_scanned_objects/{0}/{0}.xml": (
        "akita_black_bowl",
        "basket",
        "chefmate_8_frypan",
        "glazed_rim_porcelain_ramekin",
        "plate",
        "white_bowl",
    ),
    "stable_hope_objects/{0}/{0}.xml": (
        "alphabet_soup",
        "bbq_sauce",
        "butter",
        "chocolate_pudding",
        "cookies",
        "cream_cheese",
        "ketchup",
        "milk",
        "new_salad_dressing",
        "orange_juice",
        "salad_dressing",
        "tomato_sauce",
    ),
    "articulated_objects/{0}.xml": ("flat_stove", "microwave", "white_cabinet", "wooden_cabinet"),
    "turbosquid_objects/{0}/{0}.xml": (
        "black_book",
        "desk_caddy",
        "moka_pot",
        "porcelain_mug",
        "red_coffee_mug",
        "white_yellow_mug",
        "wine_bottle",
        "wine_rack",
        "wooden_tray",
        "wooden_two_layer_shelf",
        "yellow_book",
    ),
}

CATEGORY_FILES: dict[str, str] = {
    category: pattern.format(category)
    for pattern, categories in _FAMILIES.items()
    for category in categories
}
"""BDDL category -> XML file relative to the asset folder."""


@dataclass(frozen=True)
class Scene:
    """The room of a BDDL problem: XML file and the two textures that its arena class puts in."""

    xml: str
    floor: str = "light-gray-floor-tile.png"
    wall: str = "light-gray-plaster.png"

    @property
    def textures(self) -> tuple[str, str]:
        """Floor and wall texture relative to the asset folder."""
        return (f"textures/{self.floor}", f"textures/{self.wall}")


TABLE_SCENE = Scene("scenes/libero_tabletop_base_style.xml")
FLOOR_SCENE = Scene("scenes/libero_floor_base_style.xml")

SCENES: dict[str, Scene] = {
    "libero_tabletop_manipulation": TABLE_SCENE,
    "libero_floor_manipulation": FLOOR_SCENE,
    "libero_coffee_table_manipulation": Scene(
        "scenes/libero_coffee_table_base_style.xml", "seamless_wood_planks_floor.png"
    ),
    "libero_kitchen_tabletop_manipulation": Scene(
        "scenes/libero_kitchen_tabletop_base_style.xml",
        "gray_ceramic_tile.png",
        "yellow_linen_wall_texture.png",
    ),
    "libero_living_room_tabletop_manipulation": Scene(
        "scenes/libero_living_room_tabletop_base_style.xml", "seamless_wood_planks_floor.png"
    ),
    "libero_study_tabletop_manipulation": Scene("scenes/libero_study_base_style.xml"),
}
"""BDDL problem (lower case) -> scene."""

WORKSPACES = frozenset(
    {"table", "floor", "kitchen_table", "living_room_table", "study_table", "coffee_table"}
)
"""Fixtures of a BDDL file that belong to the scene and have no file of their own."""


@dataclass(frozen=True)
class Needs:
    """What an environment wants to load: object categories and scenes."""

    categories: frozenset[str]
    scenes: tuple[Scene, ...] = ()

    @classmethod
    def of_task(cls, categories: Iterable[str], problem: str) -> Needs:
        """Needs of one task.

        Args:
            categories: the BDDL file's object and fixture categories, the workspace included
                or not.
            problem: the BDDL file's problem name, in any case.

        Raises:
            ValueError: an unknown category or problem.
        """
        wanted = frozenset(name.lower() for name in categories) - WORKSPACES
        unknown = sorted(wanted - CATEGORY_FILES.keys())
        if unknown:
            raise ValueError(
                f"unknown object categories {unknown}; known: {sorted(CATEGORY_FILES)}"
            )
        scene = SCENES.get(problem.lower())
        if scene is None:
            raise ValueError(f"unknown problem {problem!r}; known: {sorted(SCENES)}")
        return cls(wanted, (scene,))

    @classmethod
    def of_suite(cls, suite: str) -> Needs:
        """Needs of every task of a suite.

        Raises:
            ValueError: an unknown suite.
        """
        if suite not in SUITE_NEEDS:
            raise ValueError(f"unknown suite {suite!r}; known: {sorted(SUITE_NEEDS)}")
        return SUITE_NEEDS[suite]


SUITE_NEEDS: dict[str, Needs] = {
    "libero_spatial": Needs(
        frozenset(
            {
                "akita_black_bowl",
                "cookies",
                "flat_stove",
                "glazed_rim_porcelain_ramekin",
                "plate",
                "wooden_cabinet",
            }
        ),
        (TABLE_SCENE,),
    ),
    "libero_object": Needs(
        frozenset(
            {
                "alphabet_soup",
                "basket",
                "bbq_sauce",
                "butter",
                "chocolate_pudding",
                "cream_cheese",
                "ketchup",
                "milk",
                "orange_juice",
                "salad_dressing",
                "tomato_sauce",
            }
        ),
        (FLOOR_SCENE,),
    ),
    "libero_goal": Needs(
        frozenset(
            {
                "akita_black_bowl",
                "cream_cheese",
                "flat_stove",
                "plate",
                "wine_bottle",
                "wine_rack",
                "wooden_cabinet",
            }
        ),
        (TABLE_SCENE,),
    ),
}
"""The suites that one set of models covers; for others, ask task by task."""
