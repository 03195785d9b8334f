"""The refusals of a request before it reaches a model. The statuses, types and sentences are those of the front end in
Java (serving/front_end/java/frontend/Refusal.java)."""

from __future__ import annotations

import json

RETRY_AFTER_S = "1"


class Refusal(Exception):
    """A status, the ``type`` of the JSON body, its sentence and headers. ``cause`` is the kind of error in the metrics
    where the status alone does not tell it (docs/monitoring.md)."""

    def __init__(self, status: int, kind: str, message: str, cause: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.cause = status, kind, message, cause
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def body(self, open_inference: bool) -> bytes:
        """The body as JSON, in the form of the Open Inference Protocol for requests to its URLs."""
        said = {"code": self.status, "type": self.kind, "message": self.message}
        return json.dumps({"error": self.message} if open_inference else said).encode()


def malformed(message: str) -> Refusal:
    """The request cannot be read."""
    return Refusal(400, "BadRequestException", message)


def unauthorized() -> Refusal:
    """The request has no valid token."""
    return Refusal(
        401, "InvalidKeyException",
        "Token Authorization failed. Token either incorrect, expired, or not provided correctly; send the header "
        "Authorization: Bearer <token>.", WWW_Authenticate="Bearer",
    )  # fmt: skip


def not_found(message: str, kind: str = "ResourceNotFoundException") -> Refusal:
    """No such URL, or no such model."""
    return Refusal(404, kind, message)


def method_not_allowed(given: str, allowed: str) -> Refusal:
    """The URL takes other methods."""
    sentence = f"This URL does not take the method {given}; it takes: {allowed}."
    return Refusal(405, "MethodNotAllowedException", sentence, Allow=allowed)


def slow() -> Refusal:
    """The body does not arrive in time."""
    return Refusal(408, "RequestTimeoutException", "The request did not arrive in time.")


def too_large(message: str) -> Refusal:
    """The body exceeds a limit."""
    return Refusal(413, "RequestTooLargeException", message)


def unsupported(message: str) -> Refusal:
    """The body's coding is not known."""
    return Refusal(415, "UnsupportedMediaTypeException", message)


def failed() -> Refusal:
    """The server failed; the log has the error."""
    return Refusal(500, "InternalServerException", "The model failed on this request; see the log.")


def busy(message: str, cause: str) -> Refusal:
    """There is no room at this moment."""
    return Refusal(503, "ServiceUnavailableException", message, cause, Retry_After=RETRY_AFTER_S)
