"""The console script ``tsi``: the verbs of the Makefile for people who installed the project instead of cloning it."""
