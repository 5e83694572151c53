"""Money: prices, balances, and what every request used."""
