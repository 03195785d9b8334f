package frontend;

import io.grpc.Status;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** Why a request got no answer from its model: the label "kind" of tsi_errors_total, in lower case (docs/monitoring.md). */
enum Kind {
    BAD_REQUEST, TOKEN, NOT_FOUND, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, TIMEOUT, CLIENT_GONE,
    QUEUE_FULL, NO_WORKER, MEMORY_FULL, BUSY, OUT_OF_MEMORY, WORKER_DIED, INTERNAL;

    /** The type that handlers/errors.py gives an error of a GPU's memory, in the JSON of an answer. */
    private static final String GPU_MEMORY = "\"OutOfMemory\"";

    String label() {
        return name().toLowerCase(Locale.ROOT);
    }

    static Kind of(int status) {
        switch (status) {
            case 401:
                return TOKEN;
            case 404:
            case 405:
                return NOT_FOUND;
            case 408:
                return TIMEOUT;
            case 413:
                return TOO_LARGE;
            case 415:
                return UNSUPPORTED_MEDIA_TYPE;
            case 503:
                return BUSY;
            case 507:
                return OUT_OF_MEMORY;
            default:
                return status < 500 ? BAD_REQUEST : INTERNAL;
        }
    }

    /** The kind of a worker's answer, or null if it is no error. */
    static Kind ofAnswer(int status, byte[] body) {
        if (status < 400) {
            return null;
        }
        boolean memory = status == 503 && new String(body, StandardCharsets.UTF_8).contains(GPU_MEMORY);
        return memory ? OUT_OF_MEMORY : of(status);
    }

    /** The kind of TorchServe's own message in place of an answer: "Worker died.", or a handler's failure with a whole batch. */
    static Kind ofFailure(int status, String message) {
        if (message != null && message.startsWith("Worker ")) {
            return WORKER_DIED;
        }
        return status == 503 ? INTERNAL : of(status);
    }

    static Kind of(Status.Code code) {
        switch (code) {
            case PERMISSION_DENIED:
            case UNAUTHENTICATED:
                return TOKEN;
            case NOT_FOUND:
            case UNIMPLEMENTED:
                return NOT_FOUND;
            case RESOURCE_EXHAUSTED:
                return TOO_LARGE;
            case INVALID_ARGUMENT:
                return BAD_REQUEST;
            case CANCELLED:
                return CLIENT_GONE;
            case UNAVAILABLE:
                return BUSY;
            default:
                return INTERNAL;
        }
    }
}
