"""The emulator's claims about the service, as statements that anyone with an account can check.

``statements`` is the table, ``expectations`` compares an answer with a row of it, ``checking`` sends the requests
through a session; ``cfai-nb conformance`` shows the result.
"""
