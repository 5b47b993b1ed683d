"""What the emulator claims about the service, as statements that anybody with an account can check.

``statements`` is the table, ``expectations`` compares an answer with a row of it, ``checking`` asks a session.  It lies
in this room since it asks a session what a session would ask; ``cfai-nb conformance`` shows it.
"""
