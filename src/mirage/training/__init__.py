"""How the bundled weights were made: recipes, the loop that runs them, and the data they see."""
