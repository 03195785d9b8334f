"""The whole document: URLs, access, answers and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from handlers.open_inference import BINARY, JSON_LENGTH
from openapi import answers, bodies, explanations, tensors
from openapi.models import Model

Schema = dict[str, Any]
VERSION = "1.0"  # of the API: the version that every archive has
ABOUT = """Every archive is a model of one task in one variant; `make models` and `make status` list them. All variants
of a model take the same requests.

A token is needed for every request: `make -s token` prints one, which expires after an hour. A body needs its
`Content-Type`; it may be compressed with gzip (`Content-Encoding: gzip`). An error says in one sentence what to change.

gRPC and the management API are not described here."""
TOTAL = "x-total-ms"
TIMES = {
    TOTAL: "Time from the head of the request to its answer.",
    "x-queue-ms": "Time that the request waited for a worker.",
    "x-preprocess-ms": "Time to read and prepare the batch that the request was part of.",
    "x-inference-ms": "Time of the model, for the same batch.",
    "x-postprocess-ms": "Time to make the answers of the batch.",
}
BEHIND = """With binary tensors, the body is this JSON with the tensors' bytes behind it, and the header
`Inference-Header-Content-Length` has the length of the JSON."""
ERRORS = {
    400: "The request cannot be answered as it is; the message says what to change.",
    401: "There is no token, or it is wrong or has expired.",
    404: "No such model is served.",
    405: "The URL does not take this method; the header Allow names those that it takes.",
    406: "The explanation of a text is not a picture; ask for JSON.",
    408: "The request did not arrive completely in time.",
    413: "The request is larger than a limit; the message names it.",
    415: "The body is of a type that the model does not read.",
    500: "The model failed on this request; the server's log says where.",
    503: "There is no room at this moment; ask again after Retry-After.",
    507: "The worker has no memory left.",
}
OF_EVERY_REQUEST = (400, 401, 405, 408, 413)
OF_A_MODEL = (*OF_EVERY_REQUEST, 404, 415, 500, 503, 507)


def document(models: Sequence[Model], server: str = "http://127.0.0.1:8080") -> Schema:
    """The document of a server with these models."""
    paths: Schema = {}
    shared = Shared({"Error": _error(), "InferenceError": _inference_error()})
    for model in models:
        paths |= _paths(model, shared)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TorchScript Inference", "version": VERSION, "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "tags": [*(_tag(model) for model in models), {"name": "server", "description": "The server as a whole."}],
        "paths": {**paths, **_server_paths()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`make -s token`"}},
            "schemas": shared.schemas,
            "requestBodies": shared.bodies,
            "headers": _headers(),
            "responses": _responses(),
        },
    }  # fmt: skip


def _tag(model: Model) -> Schema:
    return {"name": model.name, "description": f"Task: {model.task}."}


@dataclass(frozen=True)
class Shared:
    """Schemas and bodies that variants of one model, and URLs of one archive, share."""

    schemas: Schema
    bodies: Schema = field(default_factory=dict)

    def schema(self, model: Model, kind: str, schema: Schema) -> Schema:
        """A reference to the schema."""
        return _shared("schemas", self.schemas, model, kind, schema)

    def body(self, model: Model, prefix: str = "") -> Schema:
        """A reference to the body of a prediction or, with a prefix, of another request."""
        body = bodies.request_body(model)
        in_json = body["content"]["application/json"]
        in_json["schema"] = self.schema(model, f"{prefix}request", in_json["schema"])
        return _shared("requestBodies", self.bodies, model, f"{prefix}body", body)


def _shared(place: str, known: Schema, model: Model, kind: str, new: Schema) -> Schema:
    same = (name for name, each in known.items() if name.endswith(f".{kind}") and each == new)
    name = next(same, f"{model.name}.{kind}")
    known[name] = new
    return _ref(place, name)


def _paths(model: Model, shared: Shared) -> Schema:
    """The model's URLs. Its schemas are added to ``shared``."""
    return {**(_predictions(model, shared) if model.predicts else {}),
            **(_explanations(model, shared) if model.explains else {})}  # fmt: skip


def _explanations(model: Model, shared: Shared) -> Schema:
    asked, image = explanations.asked(model), model.kind == "image"
    answered = {kind: shared.schema(model, f"explanation-{kind}", schema) for kind, schema in (
        ("answer", explanations.answer(model)), ("v1-answer", explanations.instances(model)),
    )}  # fmt: skip
    errors = (*OF_A_MODEL, 406)
    responses = _answers("The explanation.", answered["answer"], errors, timed=True)
    if image:
        content, headers = explanations.of_png()
        responses["200"]["content"] |= content
        responses["200"]["headers"] |= headers
    explain = {
        **_operation(model, "explain", "Explain an answer"),
        "description": "A picture with `Accept: image/png`." if image else "By tokens.",
        "requestBody": shared.body(asked, "explanation-"),
        "responses": responses,
    }
    in_v1 = shared.schema(model, "explanation-v1-request", bodies.instances(asked))
    return {
        f"/explanations/{model.name}": {
            "post": explain,
            "put": {**explain, "operationId": f"{model.name}.put-explain", "summary": "The same, for curl -T"},
        },
        f"/v1/models/{model.name}:explain": {"post": {
            **_operation(model, "explain-v1", "Explain answers, KServe v1"),
            "requestBody": _json(in_v1, required=True),
            "responses": _answers("One explanation for each instance.", answered["v1-answer"], errors, timed=True),
        }},
    }  # fmt: skip


def _predictions(model: Model, shared: Shared) -> Schema:
    answered = {kind: shared.schema(model, kind, schema) for kind, schema in (
        ("answer", answers.answer(model)), ("v1-answer", answers.instances(model)),
        ("v2-answer", tensors.answer(model)), ("v2-metadata", tensors.metadata(model)),
    )}  # fmt: skip
    predict = {
        **_operation(model, "predict", "Predict"),
        "description": "A file may be sent without a `Content-Type`; curl -T does so, with the method PUT.",
        "requestBody": shared.body(model),
        "responses": _answers("The answer.", answered["answer"], OF_A_MODEL, timed=True),
    }
    return {
        f"/predictions/{model.name}": {
            "post": predict,
            "put": {**predict, "operationId": f"{model.name}.put", "summary": "The same, for curl -T"},
        },
        f"/v1/models/{model.name}:predict": {"post": {
            **_operation(model, "predict-v1", "Predict, KServe v1"),
            "requestBody": _json(shared.schema(model, "v1-request", bodies.instances(model)), required=True),
            "responses": _answers("One answer for each instance.", answered["v1-answer"],
                                  OF_A_MODEL, timed=True),
        }},
        f"/v2/models/{model.name}/infer": {"post": {
            **_operation(model, "infer", "Predict, Open Inference Protocol v2"),
            "description": BEHIND,
            "requestBody": _json(shared.schema(model, "v2-request", tensors.request(model)), required=True),
            "responses": _binary(_answers("The outputs.", answered["v2-answer"], OF_A_MODEL, "V2", True)),
        }},
        f"/v2/models/{model.name}": {"get": {
            **_operation(model, "metadata", "The model's tensors"),
            "responses": _answers("Names, datatypes and shapes.", answered["v2-metadata"],
                                  OF_A_MODEL, "V2"),
        }},
        f"/v2/models/{model.name}/ready": {"get": {
            **_operation(model, "ready", "Whether a worker of the model answers"),
            "responses": _readiness({"name": {"const": model.name}, "ready": {"type": "boolean"}}, 404),
        }},
    }  # fmt: skip


def _operation(model: Model, name: str, summary: str) -> Schema:
    return {"operationId": f"{model.name}.{name}", "summary": summary, "tags": [model.name]}


def _json(schema: Schema, **rest: Any) -> Schema:
    return {**rest, "content": {"application/json": {"schema": schema}}}


def _answers(what: str, schema: Schema, errors: Sequence[int], form: str = "", timed: bool = False) -> Schema:
    found = _json(schema, description=what)
    if timed:
        found["headers"] = {name: _ref("headers", name) for name in _headers()}
    return {"200": found, **{str(code): _ref("responses", f"{HTTPStatus(code).name}{form}") for code in sorted(errors)}}


def _binary(responses: Schema) -> Schema:
    """Adds an answer in binary tensors, for requests that ask for it."""
    answer = responses["200"]
    length = {"description": "Bytes of the JSON in a binary answer.", "schema": {"type": "integer", "minimum": 1}}
    return {**responses, "200": {
        **answer,
        "headers": {**answer["headers"], JSON_LENGTH: length},
        "content": {**answer["content"], BINARY: {"schema": {"contentMediaType": BINARY}}},
    }}  # fmt: skip


def _readiness(fields: Schema, *errors: int) -> Schema:
    schema = {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}
    found = _answers("It answers.", schema, (*OF_EVERY_REQUEST, *errors), "V2")
    not_ready = {"anyOf": [schema, _ref("schemas", "InferenceError")]}
    return {**found, "400": _json(not_ready, description="It does not answer now.")}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _server_paths() -> Schema:
    status = {"type": "object", "required": ["status"], "properties": {
        "status": {"enum": ["Healthy", "Partial Healthy", "Unhealthy"]}}}  # fmt: skip
    about = {"type": "object", "required": ["name", "version", "extensions"], "properties": {
        "name": {"type": "string"}, "version": {"type": "string"},
        "extensions": {"type": "array", "items": {"type": "string"}}}}  # fmt: skip

    def get(name: str, summary: str, responses: Schema) -> Schema:
        return {"get": {"operationId": name, "summary": summary, "tags": ["server"], "responses": responses}}

    ping = _answers("All workers answer, or some do.", status, OF_EVERY_REQUEST)
    ping["500"] = _json({"anyOf": [status, _ref("schemas", "Error")]}, description="No worker answers.")
    return {
        "/ping": get("ping", "Whether the server is healthy", ping),
        "/v2": get("server", "Name, version and extensions", _answers("The server.", about, OF_EVERY_REQUEST, "V2")),
        "/v2/health/live": get("live", "Whether the server runs", _readiness({"live": {"type": "boolean"}})),
        "/v2/health/ready": get("ready", "Whether all models have workers", _readiness({"ready": {"type": "boolean"}})),
    }


def _error() -> Schema:
    fields = {
        "code": {"type": "integer", "description": "The HTTP status."},
        "type": {"type": "string", "description": "The kind of error."},
        "message": {"type": "string", "description": "A sentence that says what to change."},
    }
    return {"type": "object", "required": list(fields), "properties": fields}


def _inference_error() -> Schema:
    """An error under /v2."""
    return {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _headers() -> Schema:
    times = {name: {"description": what, "schema": {"type": "string", "pattern": r"^[0-9]+\.[0-9]{3}$"}}
             for name, what in TIMES.items()}  # fmt: skip
    count = {"type": "integer", "minimum": 1}
    return {
        **{name: {**each, "required": True} for name, each in times.items()},
        "x-batch-size": {"description": "Requests in that batch.", "required": True, "schema": count},
        "x-tokens": {"description": "Tokens of the request's texts, without padding.", "schema": count},
        "x-pixels": {"description": "Pixels of the request's images, as sent.", "schema": count},
        "x-variant": {"description": "The variant that answered.", "required": True, "schema": {"type": "string"}},
        "x-truncated": {"description": "Number of texts that were cut at the model's limit of tokens.",
                        "schema": {"type": "integer", "minimum": 1}},
    }  # fmt: skip


def _responses() -> Schema:
    found = {}
    for form, schema in (("", "Error"), ("V2", "InferenceError")):
        for code, what in ERRORS.items():
            response = _json(_ref("schemas", schema), description=what)
            response["headers"] = {**_headers_of(code), TOTAL: _ref("headers", TOTAL)}
            found[f"{HTTPStatus(code).name}{form}"] = response
    return found


def _headers_of(code: int) -> Schema:
    text = {"type": "string"}
    found = {
        401: {"WWW-Authenticate": {"required": True, "schema": text}},
        405: {"Allow": {"required": True, "schema": text}},
        503: {
            "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
        },
    }
    return found.get(code, {})
