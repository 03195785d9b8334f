"""Bad input at scale: bursts of hostile and good requests against a real TorchServe, over HTTP.

``python -m tests.trust.fuzz`` (``make fuzz``) sends thousands; the suite sends fewer of the same. Everything is judged
by what comes back and by the workers' pids: nothing here calls into a handler.
"""
