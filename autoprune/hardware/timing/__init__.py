"""How calls are timed, and how repeatable that is here."""
