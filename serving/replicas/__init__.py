"""Several TorchServe servers (replicas) of one machine behind HAProxy: ``make serve REPLICAS=3``, ``TLS=1``.

HAProxy takes the address of config.properties. Each replica has its own run folder, loopback ports and config. The code
for a single server starts, stops and describes it (serving/server.py). A keeper process starts again the replicas that
end.
"""
