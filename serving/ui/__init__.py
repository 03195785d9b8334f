"""A page to try the served models in a browser, and the small local server that it needs: ``python -m serving.ui``.

The page never sees a token of TorchServe. This server adds it to predictions, and forwards nothing else. server.py says
who may use it. page/ui.js has the page's code for each task.
"""
