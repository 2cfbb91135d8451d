"""How the program meets failure outside of itself."""
