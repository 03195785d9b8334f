"""The HTTP API as an OpenAPI 3.1 document, generated from the task objects.

A task's class in handlers/tasks says what a request holds, which options it takes and which tensors it gives. An
archive says which task it has, with which limits. No schema here names a field or an option of a task again.
"""
