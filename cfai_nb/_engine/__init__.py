"""How a call travels: plan, run, conversation, sender, limiter, wire, store, bridge.  It imports no pandas."""
