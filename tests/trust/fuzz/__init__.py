"""Many invalid requests: bursts of hostile and good requests against a real TorchServe, over HTTP.

``python -m tests.trust.fuzz`` (``make fuzz``) sends thousands; the suite sends fewer of the same. Only replies and the
workers' pids are judged; no handler is called here.
"""
