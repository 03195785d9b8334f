"""Several TorchServe servers (replicas) of one machine behind HAProxy: ``make serve REPLICAS=3``, ``TLS=1``.

HAProxy takes the address of config.properties. Each replica has a run folder, loopback ports and a config of its own.
It is started, stopped and described by the code of a server alone (serving/server.py). A keeper process starts those
again that end.
"""
