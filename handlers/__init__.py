"""All the code that runs inside a TorchServe worker; shipped whole in every archive.

It knows requests, tensors and checkpoints. It does not know the catalog, the server's addresses or how an
archive was built: what it needs to know of its model it reads from the ``archive`` section of model-config.yaml.
"""
