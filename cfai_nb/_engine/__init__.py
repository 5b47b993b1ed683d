"""How it travels: plan, store, pace, wire, run, bridge.  Knows tasks only by their shape, and no pandas."""
