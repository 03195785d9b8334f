"""All the code that runs inside a TorchServe worker. Every archive contains the whole folder.

The code knows requests, tensors and checkpoints. It does not know the catalog, the server's addresses or how an
archive was built. The facts about its model are in the section ``archive`` of model-config.yaml.
"""
