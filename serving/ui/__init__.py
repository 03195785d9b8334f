"""A page to try the served models in a browser, and the small local server that it needs: ``python -m serving.ui``.

The page never sees a token of TorchServe: this server adds it to the predictions that it passes on, and passes on
nothing else. server.py says who may ask it. What the page knows of tasks is in page/ui.js.
"""
