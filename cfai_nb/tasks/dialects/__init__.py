"""How each family of models is asked, and how its answers are read."""
