"""Recipes: YAML files that name components and their parameters.

`Recipe.load("urbanmmcl")` reads one, a shipped one by its name; `Recipe` documents every key.
"""

from urbankit.recipe.recipe import Recipe

__all__ = ["Recipe"]
