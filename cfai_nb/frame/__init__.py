"""How a task meets a frame: rows out of it, columns back into it, verbs, reports and progress."""
