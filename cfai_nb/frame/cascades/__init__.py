"""``cf.Cascade``: cheap answers where they may stand, with a stated probability."""
